#pragma once

#include <initializer_list>
#include <string_view>

#include "saccade/stream.h"
#include "saccade/tensor.h"

// What every op asks of its operands. All checks throw InvalidArgument, and all names are those of
// the op's contract.
namespace saccade::ops::detail {

struct Named {
  const char* name;
  const Tensor& tensor;
};

/// Every operand is given and lives where the stream runs.
void check_given(std::string_view op, const Stream&, std::initializer_list<Named>);

/// The operands that are given live where the stream runs.
void check_optional(std::string_view op, const Stream&, std::initializer_list<Named>);

void check_shape(std::string_view op, Named, const Shape& wanted);
void check_type(std::string_view op, Named, DType wanted);
/// f32, bf16 or f16.
void check_floating(std::string_view op, Named);

/// The two share no byte.
void check_apart(std::string_view op, Named, Named other);

/// The two are one tensor or share no byte: what an elementwise op can update in place.
void check_same_or_apart(std::string_view op, Named, Named other);

}  // namespace saccade::ops::detail
