#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "ops/elements.h"
#include "ops/gemm/gemm.h"

// What the CPU gemms do to a row beside its product.
namespace saccade::ops::detail {

/// 1 / rms of a row of x, from the parts of its squares; 1 where there is no norm.
inline float norm_factor(const GemmParams& p, std::int64_t row) {
  if (!p.norm_squares) return 1;
  float sum = 0;
  for (int part = 0; part < p.norm_parts; ++part) sum += p.norm_squares[row * p.norm_parts + part];
  return 1.0f / std::sqrt(sum / float(p.k) + p.norm_eps);
}

/// What element i of a row of x counts times.
inline float x_scale(const GemmParams& p, std::int64_t row, int i) {
  if (!p.x_scales) return 1;
  return p.x_scales[(p.x_blocks == 1 ? 0 : i / kScaleBlock) * std::int64_t(p.m) + row];
}

/// The value at `index` of out, after guidance.
inline float guided(const GemmParams& p, std::int64_t row, std::int64_t index, float value) {
  const float weight = p.guidance_weights[row];
  if (weight == 0) return value;
  const float residual = load(p.residual, p.out_type, index);
  return value - weight * (p.guidance_target[index] - (residual - p.guidance_time * value));
}

/// The whole sum is one part.
inline void store_squares(const GemmParams& p, std::int64_t row, float sum) {
  float* parts = p.squares + row * p.squares_parts;
  std::fill_n(parts, p.squares_parts, 0.0f);
  parts[0] = sum;
}

}  // namespace saccade::ops::detail
