#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// Neighbours in a row that share a scale, unless the whole row does.
constexpr int kScaleBlock = 128;

/// The blocks of a row, the last of which may be smaller.
constexpr int scale_blocks(int columns) { return (columns + kScaleBlock - 1) / kScaleBlock; }

/// A matrix as an operand: element [r, i] is values[r, i] * scales[block of i, r].
///
///   values  [rows, columns]  e4m3, or any other floating type if there are no scales
///   scales  [blocks, rows]   f32; blocks is 1 or scale_blocks(columns)
struct ScaledMatrix {
  Tensor values = {};
  Tensor scales = {};

  ScaledMatrix() = default;
  ScaledMatrix(Tensor values, Tensor scales = {}) : values(values), scales(scales) {}

  explicit operator bool() const { return bool(values); }
};

/// out.scales[b, r] = max |x[r, block b]| / 448, or 1 where that is less than 2^-126
/// out.values[r, i] = x[r, i] / out.scales[block of i, r]
///
///   x    [rows, columns]  f32, bf16 or f16
///   out  of x's shape, values in e4m3
///
/// Rounds to nearest even; 448 is the largest e4m3. An element that is not finite makes its scale
/// so.
void quantize(const Stream&, Tensor x, const ScaledMatrix& out);

}  // namespace saccade::ops
