#include "ops/sample/normal_noise.h"

#include "ops/dispatch.h"
#include "ops/trace.h"
#include "saccade/ops/sample.h"

namespace saccade::ops {

void normal_noise(const Stream& stream, std::uint64_t seed, float mean, float deviation,
                  Tensor out) {
  constexpr auto kOp = "normal_noise";
  detail::check_given(kOp, stream, {{"out", out}});
  detail::check_floating(kOp, {"out", out});
  const detail::NormalNoiseParams params{seed,     mean, deviation, out.data, out.shape.size(),
                                         out.dtype};
  if (!detail::may_run(stream, kOp, out)) return;
  stream.device == Device::kCpu ? detail::normal_noise_cpu(params)
                                : detail::normal_noise_cuda(params, stream.handle);
}

}  // namespace saccade::ops
