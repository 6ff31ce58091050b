#include "ops/norm/layer_norm.h"

#include "ops/norm/operands.h"
#include "ops/trace.h"
#include "saccade/ops/norm.h"

namespace saccade::ops {

void layer_norm(const Stream& stream, Tensor x, Tensor weight, Tensor bias, float eps, Tensor out) {
  constexpr auto kOp = "layer_norm";
  detail::check_given(kOp, stream, {{"x", x}, {"weight", weight}, {"bias", bias}, {"out", out}});
  detail::check_rows(kOp, x, out);
  detail::check_floating(kOp, {"out", out});
  const int dim = x.shape[1];
  detail::check_shape(kOp, {"weight", weight}, {dim});
  detail::check_shape(kOp, {"bias", bias}, {dim});
  detail::check_type(kOp, {"weight", weight}, DType::kF32);
  detail::check_type(kOp, {"bias", bias}, DType::kF32);
  const detail::LayerNormParams params{
      x.data,  weight.as<float>(), bias.as<float>(), out.data, x.shape[0], dim, eps,
      x.dtype, out.dtype};
  if (!detail::may_run(stream, kOp, x)) return;
  stream.device == Device::kCpu ? detail::layer_norm_cpu(params)
                                : detail::layer_norm_cuda(params, stream.handle);
}

}  // namespace saccade::ops
