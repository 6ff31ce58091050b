#include "ops/quantize/operands.h"

#include <string>

#include "core/check.h"

namespace saccade::ops::detail {
namespace {

void check_scales(std::string_view op, const Stream& stream, Named values, const Tensor& scales) {
  const std::string name = std::string(values.name) + ".scales";
  const Named named{name.c_str(), scales};
  check_given(op, stream, {named});
  check_type(op, named, DType::kF32);
  const int rows = values.tensor.shape[0];
  const int blocks = scale_blocks(values.tensor.shape[1]);
  const Shape& shape = scales.shape;
  SACCADE_CHECK(shape.rank() == 2 && (shape[0] == 1 || shape[0] == blocks) && shape[1] == rows, op,
                name, " must be [1, ", rows, "] or [", blocks, ", ", rows, "], got ", shape.str());
}

}  // namespace

void check_scaled(std::string_view op, const Stream& stream, Named values, const Tensor& scales) {
  if (values.tensor.dtype == DType::kE4m3) return check_scales(op, stream, values, scales);
  check_floating(op, values);
  SACCADE_CHECK(!scales, op, values.name, " must be e4m3 to have scales, got ",
                name_of(values.tensor.dtype));
}

void check_e4m3(std::string_view op, const Stream& stream, const char* name,
                const ScaledMatrix& matrix, Named like) {
  const Named values{name, matrix.values};
  check_given(op, stream, {values});
  check_shape(op, values, like.tensor.shape);
  check_type(op, values, DType::kE4m3);
  check_scales(op, stream, values, matrix.scales);
  check_apart(op, values, like);
}

void check_quantized(std::string_view op, const Stream& stream, const ScaledMatrix& quantized,
                     const Tensor& out) {
  if (!quantized.values && !quantized.scales) return;
  check_e4m3(op, stream, "quantized", quantized, {"out", out});
}

}  // namespace saccade::ops::detail
