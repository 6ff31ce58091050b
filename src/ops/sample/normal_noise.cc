#include "ops/sample/normal_noise.h"

#include "ops/dispatch.h"
#include "saccade/ops/sample.h"

namespace saccade::ops {

void normal_noise(const Stream& stream, std::uint64_t seed, Tensor out) {
  constexpr auto kOp = "normal_noise";
  detail::check_given(kOp, stream, {{"out", out}});
  detail::check_has_kernel(kOp, stream);
  detail::check_type(kOp, {"out", out}, DType::kF32);
  detail::normal_noise_cpu({seed, out.as<float>(), out.shape.size()});
}

}  // namespace saccade::ops
