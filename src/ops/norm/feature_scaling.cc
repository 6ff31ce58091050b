#include "ops/norm/feature_scaling.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "ops/trace.h"
#include "saccade/ops/norm.h"

namespace saccade::ops {
namespace {

detail::FeatureScalingParams checked(const char* op, const Stream& stream, const Tensor& x,
                                     const FeatureScaling& scaling, const Tensor& out) {
  const auto& [center, range, gain, bias] = scaling;
  detail::check_given(op, stream, {{"x", x}, {"center", center}, {"range", range}, {"out", out}});
  SACCADE_CHECK(x.shape.rank() == 2, op, "x must be [rows, dim], got ", x.shape.str());
  SACCADE_CHECK(center.shape.rank() == 1, op, "center must be [dim], got ", center.shape.str());
  const int rows = x.shape[0];
  const int dim = center.shape[0];
  detail::check_shape(op, {"range", range}, {dim});
  detail::check_shape(op, {"out", out}, {rows, dim});
  detail::check_type(op, {"x", x}, DType::kF32);
  detail::check_type(op, {"center", center}, DType::kF32);
  detail::check_type(op, {"range", range}, DType::kF32);
  detail::check_type(op, {"out", out}, DType::kF32);
  detail::check_same_or_apart(op, {"out", out}, {"x", x});
  return {.x = x.as<float>(),
          .center = center.as<float>(),
          .range = range.as<float>(),
          .out = out.as<float>(),
          .rows = rows,
          .dim = dim,
          .x_stride = x.shape[1],
          .gain = gain,
          .bias = bias};
}

}  // namespace

void normalize(const Stream& stream, Tensor x, const FeatureScaling& scaling, Tensor out) {
  constexpr auto kOp = "normalize";
  const auto params = checked(kOp, stream, x, scaling, out);
  detail::check_shape(kOp, {"x", x}, out.shape);
  if (!detail::may_run(stream, kOp, out)) return;
  stream.device == Device::kCpu ? detail::normalize_cpu(params)
                                : detail::normalize_cuda(params, stream.handle);
}

void denormalize(const Stream& stream, Tensor x, const FeatureScaling& scaling, Tensor out) {
  constexpr auto kOp = "denormalize";
  const auto params = checked(kOp, stream, x, scaling, out);
  SACCADE_CHECK(params.x_stride >= params.dim, kOp, "x must have at least ", params.dim,
                " columns, got ", x.shape.str());
  if (!detail::may_run(stream, kOp, out)) return;
  stream.device == Device::kCpu ? detail::denormalize_cpu(params)
                                : detail::denormalize_cuda(params, stream.handle);
}

}  // namespace saccade::ops
