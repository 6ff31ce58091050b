#include "ops/activation/activation.h"

#include "ops/dispatch.h"
#include "saccade/ops/activation.h"

namespace saccade::ops {
namespace {

detail::ActivationParams checked(const char* op, const Stream& stream, const Tensor& x,
                                 const Tensor& out) {
  detail::check_given(op, stream, {{"x", x}, {"out", out}});
  detail::check_has_kernel(op, stream);
  detail::check_f32_or_bf16(op, {"x", x});
  detail::check_type(op, {"out", out}, x.dtype);
  detail::check_shape(op, {"out", out}, x.shape);
  detail::check_same_or_apart(op, {"out", out}, {"x", x});
  return {x.data, out.data, x.shape.size(), x.dtype};
}

}  // namespace

void silu(const Stream& stream, Tensor x, Tensor out) {
  detail::silu_cpu(checked("silu", stream, x, out));
}

void gelu(const Stream& stream, Tensor x, Tensor out) {
  detail::gelu_cpu(checked("gelu", stream, x, out));
}

}  // namespace saccade::ops
