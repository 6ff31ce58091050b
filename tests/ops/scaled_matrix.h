#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "ops/op_case.h"
#include "saccade/ops/quantize.h"

// Matrices in e4m3 as operands and as results (saccade/ops/quantize.h).
namespace saccade::testing {

/// Which elements of a row share a scale.
enum class Scales { kNone, kRows, kBlocks };

inline const char* name_of(Scales scales) {
  if (scales == Scales::kNone) return "none";
  return scales == Scales::kRows ? "rows" : "blocks";
}

inline int blocks_of(Scales scales, int columns) {
  if (scales == Scales::kNone) return 0;
  return scales == Scales::kRows ? 1 : ops::scale_blocks(columns);
}

/// The block of a column among `blocks`.
inline int block_of(int column, int blocks) { return blocks == 1 ? 0 : column / ops::kScaleBlock; }

// Of the values: they use e4m3's whole range, and hardly ever saturate.
constexpr float kScaledDeviation = 100;

/// Elements of about this deviation once they are scaled. The scales differ, so that a wrong one
/// shows.
inline Operand scaled_values(int rows, int columns) {
  return {{rows, columns}, DType::kE4m3, fill_normal_of(kScaledDeviation)};
}
inline Operand scales_of(int blocks, int rows, float deviation) {
  const float unit = deviation / kScaledDeviation;
  return {{blocks, rows}, DType::kF32, fill_uniform(0.5f * unit, 2 * unit)};
}

/// What values and scales stand for.
inline Values exact_elements(Values values, const Values& scales, int rows, int columns) {
  const int blocks = int(scales.size()) / rows;
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < columns; ++i) {
      values[std::size_t(row) * columns + i] *=
          scales[std::size_t(block_of(i, blocks)) * rows + row];
    }
  }
  return values;
}

/// The values and the scales that ops::quantize gives; check_case rounds the values.
inline std::vector<Values> exact_quantized(Values x, int rows, int columns, int blocks) {
  Values scales(std::size_t(blocks) * rows);
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < columns; ++i) {
      double& largest = scales[std::size_t(block_of(i, blocks)) * rows + row];
      const double magnitude = std::abs(x[std::size_t(row) * columns + i]);
      if (!(magnitude <= largest) && !std::isnan(largest)) largest = magnitude;
    }
  }
  for (double& scale : scales) scale = scale / 448 < 0x1p-126 ? 1 : scale / 448;
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < columns; ++i) {
      x[std::size_t(row) * columns + i] /= scales[std::size_t(block_of(i, blocks)) * rows + row];
    }
  }
  return {std::move(x), std::move(scales)};
}

}  // namespace saccade::testing
