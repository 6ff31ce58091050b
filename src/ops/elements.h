#pragma once

#include <cstdint>

#include "core/bf16.h"
#include "core/e4m3.h"
#include "core/f16.h"
#include "saccade/tensor.h"

// f32 arithmetic on elements whose type, f32, bf16, f16 or e4m3, is known at run time only.
namespace saccade::ops::detail {

inline float load(const void* data, DType dtype, std::int64_t index) {
  if (dtype == DType::kF32) return static_cast<const float*>(data)[index];
  if (dtype == DType::kF16) return to_float(static_cast<const f16*>(data)[index]);
  if (dtype == DType::kE4m3) return to_float(static_cast<const e4m3*>(data)[index]);
  return to_float(static_cast<const bf16*>(data)[index]);
}

inline void store(void* data, DType dtype, std::int64_t index, float value) {
  if (dtype == DType::kF32) {
    static_cast<float*>(data)[index] = value;
  } else if (dtype == DType::kF16) {
    static_cast<f16*>(data)[index] = from_float<f16>(value);
  } else if (dtype == DType::kE4m3) {
    static_cast<e4m3*>(data)[index] = from_float<e4m3>(value);
  } else {
    static_cast<bf16*>(data)[index] = from_float<bf16>(value);
  }
}

/// Calls f.operator()<T>() with the element type of an operand.
template <typename F>
void visit_type(DType dtype, F f) {
  switch (dtype) {
    case DType::kBf16:
      return f.template operator()<bf16>();
    case DType::kF16:
      return f.template operator()<f16>();
    case DType::kE4m3:
      return f.template operator()<e4m3>();
    default:
      return f.template operator()<float>();
  }
}

/// Calls f.operator()<A, B>() with the element types of two operands.
template <typename F>
void visit_types(DType a, DType b, F f) {
  visit_type(a, [&]<typename A>() {
    visit_type(b, [&]<typename B>() { f.template operator()<A, B>(); });
  });
}

/// A matrix inside a larger one: `stride` elements from row to row.
struct View {
  const void* data;
  DType dtype;
  std::int64_t stride;

  View at(std::int64_t row, std::int64_t column) const {
    const auto* bytes = static_cast<const std::byte*>(data);
    return {bytes + (row * stride + column) * std::int64_t(size_of(dtype)), dtype, stride};
  }
};

struct F32View {
  const float* data;
  int stride;
};

/// The block's values in f32: where they are, or widened into scratch of rows * columns.
inline F32View as_f32(const View& block, int rows, int columns, float* scratch) {
  if (block.dtype == DType::kF32) {
    return {static_cast<const float*>(block.data), int(block.stride)};
  }
  visit_type(block.dtype, [&]<typename T>() {
    for (int row = 0; row < rows; ++row) {
      const T* from = static_cast<const T*>(block.data) + row * block.stride;
      float* to = scratch + std::int64_t(row) * columns;
      for (int i = 0; i < columns; ++i) to[i] = to_float(from[i]);
    }
  });
  return {scratch, columns};
}

}  // namespace saccade::ops::detail
