#include "ops/norm/rms_norm.h"

#include "ops/norm/operands.h"
#include "ops/quantize/operands.h"
#include "ops/trace.h"
#include "saccade/ops/norm.h"

namespace saccade::ops {

void rms_norm(const Stream& stream, Tensor x, Tensor weight, Tensor shift, float eps,
              const ScaledMatrix& scaled_out) {
  constexpr auto kOp = "rms_norm";
  const auto& [out, scales] = scaled_out;
  detail::check_given(kOp, stream, {{"x", x}, {"weight", weight}, {"out", out}});
  detail::check_rows(kOp, x, out);
  detail::check_scaled(kOp, stream, {"out", out}, scales);
  SACCADE_CHECK(!scales || scales.shape[0] == 1, kOp, "out.scales must be [1, ", x.shape[0],
                "], got ", scales.shape.str());
  const int dim = x.shape[1];
  detail::check_shape(kOp, {"weight", weight}, {dim});
  detail::check_type(kOp, {"weight", weight}, DType::kF32);
  detail::check_optional(kOp, stream, {{"shift", shift}});
  if (shift) {
    detail::check_shape(kOp, {"shift", shift}, {dim});
    detail::check_type(kOp, {"shift", shift}, DType::kF32);
  }

  const detail::RmsNormParams params{.x = x.data,
                                     .weight = weight.as<float>(),
                                     .shift = shift.as<float>(),
                                     .out = out.data,
                                     .out_scales = scales.as<float>(),
                                     .rows = x.shape[0],
                                     .dim = dim,
                                     .eps = eps,
                                     .x_dtype = x.dtype,
                                     .out_dtype = out.dtype};
  if (!detail::may_run(stream, kOp, x)) return;
  stream.device == Device::kCpu ? detail::rms_norm_cpu(params)
                                : detail::rms_norm_cuda(params, stream.handle);
}

}  // namespace saccade::ops
