#include "ops/norm/rms_norm.h"

#include "core/check.h"
#include "ops/norm/operands.h"
#include "saccade/ops/norm.h"

namespace saccade::ops {

void rms_norm(const Stream& stream, Tensor x, Tensor weight, float eps, Tensor out) {
  constexpr auto kOp = "rms_norm";
  detail::check_given(kOp, stream, {{"x", x}, {"weight", weight}, {"out", out}});
  detail::check_rows(kOp, x, out);
  const int dim = x.shape[1];
  detail::check_shape(kOp, {"weight", weight}, {dim});
  detail::check_type(kOp, {"weight", weight}, DType::kF32);

  const detail::RmsNormParams params{x.data,  weight.as<float>(), out.data, x.shape[0], dim, eps,
                                     x.dtype, out.dtype};
  if (stream.device == Device::kCpu) return detail::rms_norm_cpu(params);
  SACCADE_CHECK(dim % 8 == 0 && dim <= 4096, kOp, "CUDA needs dim % 8 == 0 and <= 4096, got ", dim);
  detail::rms_norm_sm90(params, stream.handle);
}

}  // namespace saccade::ops
