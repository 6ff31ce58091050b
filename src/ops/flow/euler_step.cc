#include "ops/flow/euler_step.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "ops/trace.h"
#include "saccade/ops/flow.h"

namespace saccade::ops {

void euler_step(const Stream& stream, Tensor x, Tensor velocity, float dt) {
  constexpr auto kOp = "euler_step";
  detail::check_given(kOp, stream, {{"x", x}, {"velocity", velocity}});
  SACCADE_CHECK(x.shape.rank() == 2, kOp, "x must be [rows, dim], got ", x.shape.str());
  detail::check_shape(kOp, {"velocity", velocity}, x.shape);
  detail::check_type(kOp, {"x", x}, DType::kF32);
  detail::check_type(kOp, {"velocity", velocity}, DType::kF32);
  detail::check_same_or_apart(kOp, {"velocity", velocity}, {"x", x});
  const detail::EulerStepParams params{x.as<float>(), velocity.as<float>(), x.shape.size(), dt};
  if (!detail::may_run(stream, kOp, x)) return;
  stream.device == Device::kCpu ? detail::euler_step_cpu(params)
                                : detail::euler_step_cuda(params, stream.handle);
}

}  // namespace saccade::ops
