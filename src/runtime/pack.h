#pragma once

#include "io/weight_source.h"
#include "saccade/tensor.h"

namespace saccade {

/// Whether pack() takes elements of this type: F64, F32, F16 or BF16.
bool is_packable(io::FileDType);

/// The columns of a tensor that are copied; all when `count` is 0.
struct ColumnRange {
  int first = 0;
  int count = 0;
};

/// out = view + added, element by element in row-major order.
///
///   view  of a packable type, up to four axes, any strides
///   out   f32, bf16 or f16; as many elements as the view's (selected columns)
///
/// The sum is formed in f32 and rounded once. Returns false, with out written, when an element of
/// the view is not finite.
bool pack(const io::WeightView& view, ColumnRange, float added, Tensor out);

}  // namespace saccade
