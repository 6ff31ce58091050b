#include "ops/dispatch.h"

#include "core/check.h"

namespace saccade::ops::detail {
namespace {

bool overlap(const Tensor& a, const Tensor& b) {
  const auto a_begin = reinterpret_cast<std::uintptr_t>(a.data);
  const auto b_begin = reinterpret_cast<std::uintptr_t>(b.data);
  return a_begin < b_begin + b.bytes() && b_begin < a_begin + a.bytes();
}

}  // namespace

void check_given(std::string_view op, const Stream& stream, std::initializer_list<Named> operands) {
  for (const auto& [name, tensor] : operands) {
    SACCADE_CHECK(tensor, op, name, " is not given");
  }
  check_optional(op, stream, operands);
}

void check_optional(std::string_view op, const Stream& stream,
                    std::initializer_list<Named> operands) {
  for (const auto& [name, tensor] : operands) {
    SACCADE_CHECK(!tensor || tensor.device == stream.device, op, name, " is on ",
                  name_of(tensor.device), ", the stream runs on ", name_of(stream.device));
  }
}

void check_shape(std::string_view op, Named operand, const Shape& wanted) {
  SACCADE_CHECK(operand.tensor.shape == wanted, op, operand.name, " must be ", wanted.str(),
                ", got ", operand.tensor.shape.str());
}

void check_type(std::string_view op, Named operand, DType wanted) {
  SACCADE_CHECK(operand.tensor.dtype == wanted, op, operand.name, " must be ", name_of(wanted),
                ", got ", name_of(operand.tensor.dtype));
}

void check_floating(std::string_view op, Named operand) {
  const DType type = operand.tensor.dtype;
  SACCADE_CHECK(type == DType::kF32 || type == DType::kBf16 || type == DType::kF16, op,
                operand.name, " must be f32, bf16 or f16, got ", name_of(type));
}

void check_apart(std::string_view op, Named operand, Named other) {
  SACCADE_CHECK(!overlap(operand.tensor, other.tensor), op, operand.name, " must not overlap ",
                other.name);
}

void check_same_or_apart(std::string_view op, Named operand, Named other) {
  const bool same =
      operand.tensor.data == other.tensor.data && operand.tensor.bytes() == other.tensor.bytes();
  SACCADE_CHECK(same || !overlap(operand.tensor, other.tensor), op, operand.name, " must be ",
                other.name, " or not overlap it");
}

}  // namespace saccade::ops::detail
