#include "ops/activation/activation.h"

#include "ops/dispatch.h"
#include "ops/trace.h"
#include "saccade/ops/activation.h"

namespace saccade::ops {
namespace {

detail::ActivationParams checked(const char* op, const Stream& stream, const Tensor& x,
                                 const Tensor& out) {
  detail::check_given(op, stream, {{"x", x}, {"out", out}});
  detail::check_floating(op, {"x", x});
  detail::check_type(op, {"out", out}, x.dtype);
  detail::check_shape(op, {"out", out}, x.shape);
  detail::check_same_or_apart(op, {"out", out}, {"x", x});
  return {x.data, out.data, x.shape.size(), x.dtype};
}

}  // namespace

void silu(const Stream& stream, Tensor x, Tensor out) {
  const auto params = checked("silu", stream, x, out);
  if (!detail::may_run(stream, "silu", x)) return;
  stream.device == Device::kCpu ? detail::silu_cpu(params)
                                : detail::silu_cuda(params, stream.handle);
}

void gelu(const Stream& stream, Tensor x, Tensor out) {
  const auto params = checked("gelu", stream, x, out);
  if (!detail::may_run(stream, "gelu", x)) return;
  stream.device == Device::kCpu ? detail::gelu_cpu(params)
                                : detail::gelu_cuda(params, stream.handle);
}

}  // namespace saccade::ops
