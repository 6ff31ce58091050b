#include "ops/norm/ada_rms_norm.h"

#include "ops/norm/operands.h"
#include "saccade/ops/norm.h"

namespace saccade::ops {

void ada_rms_norm(const Stream& stream, Tensor x, Tensor modulation, float eps, Tensor out) {
  constexpr auto kOp = "ada_rms_norm";
  detail::check_given(kOp, stream, {{"x", x}, {"modulation", modulation}, {"out", out}});
  detail::check_has_kernel(kOp, stream);
  detail::check_rows(kOp, x, out);
  const int dim = x.shape[1];
  detail::check_shape(kOp, {"modulation", modulation}, {3, dim});
  detail::check_type(kOp, {"modulation", modulation}, DType::kF32);
  const float* scale = modulation.as<float>();
  detail::ada_rms_norm_cpu(
      {x.data, scale, scale + dim, out.data, x.shape[0], dim, eps, x.dtype, out.dtype});
}

}  // namespace saccade::ops
