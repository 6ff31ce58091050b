#pragma once

#include "ops/gemm/epilogue.cuh"

// The whole epilogue of a gemm, from a tile of sums in shared memory to whole rows of out.
namespace saccade::ops::detail {

constexpr int kPartColumns = 64;  // of out, whose squares make one part: a pair for each lane

/// Sums of x weight^T, visible to the whole CTA.
struct SumTile {
  const float* sums;
  int stride;  // even; floats from row to row
  int up;      // kGeglu: where the up columns begin in a row
  int row;     // of out, where the tile begins
  int column;  // a multiple of kPartColumns
  int rows;
  int columns;  // a multiple of kPartColumns
};

/// What the epilogue reads for a pair of columns. No kernel of a chain writes any of it.
struct ColumnTerms {
  float2 bias = {0, 0};
  float2 up_bias = {0, 0};
  float2 gate = {1, 1};
  float2 scale = {0, 0};
};

/// What guidance reads for a pair of columns of a row. No kernel of a chain writes any of it.
struct GuidanceTerms {
  float weight = 0;
  float2 target = {0, 0};
};

/// values[column] and its right neighbour, where that is below n.
__device__ inline float2 pair_of(const float* values, int column, int n) {
  return {values[column], column + 1 < n ? values[column + 1] : 0.0f};
}

__device__ inline ColumnTerms column_terms(const GemmParams& p, int column) {
  ColumnTerms terms;
  if (p.bias) terms.bias = pair_of(p.bias, column, p.n);
  if (p.bias && p.activation == Activation::kGeglu) {
    terms.up_bias = pair_of(p.bias + p.n, column, p.n);
  }
  if (p.gate) terms.gate = pair_of(p.gate, column, p.n);
  if (p.scale) terms.scale = pair_of(p.scale, column, p.n);
  return terms;
}

/// The same for every lane, from run to run too.
__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) value += __shfl_xor_sync(~0u, value, lane);
  return value;
}

/// 1 / rms of kRows rows from `first`, by a whole warp.
template <int kRows>
__device__ inline void norm_factors(const GemmParams& p, int first, float (&factors)[kRows]) {
  float sums[kRows] = {};
  for (int begin = 0; p.norm_squares && begin < p.norm_parts; begin += 32) {
    const int part = begin + int(threadIdx.x % 32);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (first + i < p.m && part < p.norm_parts) {
        sums[i] += p.norm_squares[std::int64_t(first + i) * p.norm_parts + part];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    factors[i] = 1;
    if (p.norm_squares) factors[i] = rsqrtf(warp_sum(sums[i]) / float(p.k) + p.norm_eps);
  }
}

/// Elements index and index + 1 of a row, the latter only where it is `inside`. Rows of an even
/// number of columns have their pairs aligned.
__device__ inline float2 load_columns(const GemmParams& p, const void* data, DType dtype,
                                      std::int64_t index, bool inside) {
  if (p.n % 2 == 0) return load_pair(data, dtype, index);
  return {load_element(data, dtype, index), inside ? load_element(data, dtype, index + 1) : 0.0f};
}

__device__ inline void store_columns(const GemmParams& p, void* data, DType dtype,
                                     std::int64_t index, bool inside, float2 value) {
  if (p.n % 2 == 0) return store_pair(data, dtype, index, value.x, value.y);
  store_element(data, dtype, index, value.x);
  if (inside) store_element(data, dtype, index + 1, value.y);
}

/// None for rows and columns beyond m and n.
__device__ inline GuidanceTerms guidance_terms(const GemmParams& p, int row, int column) {
  if (!p.guidance_weights || row >= p.m || column >= p.n) return {};
  const std::int64_t index = std::int64_t(row) * p.n + column;
  return {p.guidance_weights[row],
          load_columns(p, p.guidance_target, DType::kF32, index, column + 1 < p.n)};
}

/// The value itself where the weight is 0, so that nothing of the guidance changes its bits.
__device__ inline float guided(const GemmParams& p, float weight, float target, float residual,
                               float value) {
  if (weight == 0) return value;
  return value - weight * (target - (residual - p.guidance_time * value));
}

/// All but the addition of the residual.
__device__ inline float2 finished_sums(const GemmParams& p, const ColumnTerms& terms, float factor,
                                       float2 sum, float2 up, const GuidanceTerms& guidance,
                                       float2 residual) {
  float2 value = {factor * sum.x + terms.bias.x, factor * sum.y + terms.bias.y};
  if (p.activation == Activation::kGeglu) {
    value.x = gelu(value.x) * (factor * up.x + terms.up_bias.x);
    value.y = gelu(value.y) * (factor * up.y + terms.up_bias.y);
  } else {
    value.x = activate(p.activation, value.x);
    value.y = activate(p.activation, value.y);
  }
  value = {guided(p, guidance.weight, guidance.target.x, residual.x, value.x),
           guided(p, guidance.weight, guidance.target.y, residual.y, value.y)};
  return {value.x * terms.gate.x, value.y * terms.gate.y};
}

/// The pair of columns at `offset` in a tile, for kRows rows from tile row `first`; zeros beyond
/// m and n.
template <int kRows>
__device__ inline void finish_pairs(const GemmParams& p, const SumTile& tile,
                                    const ColumnTerms& terms, int first, int offset,
                                    float2 (&values)[kRows]) {
  const int column = tile.column + offset;
  float factors[kRows];
  norm_factors(p, tile.row + first, factors);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    values[i] = {0, 0};
    const int row = tile.row + first + i;
    if (row >= p.m || column >= p.n) continue;
    const float* sums = tile.sums + (first + i) * tile.stride + offset;
    const float2 sum = *reinterpret_cast<const float2*>(sums);
    const bool geglu = p.activation == Activation::kGeglu;
    const float2 up = geglu ? *reinterpret_cast<const float2*>(sums + tile.up) : float2{0, 0};
    const std::int64_t index = std::int64_t(row) * p.n + column;
    float2 residual = {0, 0};
    if (p.residual) residual = load_columns(p, p.residual, p.out_type, index, column + 1 < p.n);
    values[i] =
        finished_sums(p, terms, factors[i], sum, up, guidance_terms(p, row, column), residual);
    if (column + 1 >= p.n) values[i].y = 0;
    if (p.residual) values[i] = {values[i].x + residual.x, values[i].y + residual.y};
  }
}

__device__ inline void store_results(const GemmParams& p, const ColumnTerms& terms, int row,
                                     int column, float2 value) {
  if (column < p.n) {
    const std::int64_t index = std::int64_t(row) * p.n + column;
    const bool inside = column + 1 < p.n;
    store_columns(p, p.out, p.out_type, index, inside, value);
    if (p.scaled) {
      store_columns(p, p.scaled, p.scaled_type, index, inside,
                    {value.x * terms.scale.x, value.y * terms.scale.y});
    }
  }
  if (!p.squares) return;
  const float sum = warp_sum(value.x * value.x + value.y * value.y);
  const int part = column / kPartColumns;
  if (threadIdx.x % 32 == 0 && part < p.squares_parts) {
    p.squares[std::int64_t(row) * p.squares_parts + part] = sum;
  }
}

/// Zeroes the parts behind the last columns, by the CTA whose columns end at n or beyond.
__device__ inline void zero_parts_behind(const GemmParams& p, int first, int rows, int column_end) {
  if (!p.squares || column_end < p.n) return;
  const int written = column_end / kPartColumns;
  for (int row = first; row < min(first + rows, p.m); ++row) {
    for (int part = written + int(threadIdx.x); part < p.squares_parts; part += int(blockDim.x)) {
      p.squares[std::int64_t(row) * p.squares_parts + part] = 0;
    }
  }
}

/// By every thread of a CTA of whole warps, after wait_for_previous(). A warp takes one part of
/// kRows rows at a time, so that their loads overlap; tile.rows is a multiple of kRows. The tile
/// that holds the last columns also zeroes the parts behind them.
template <int kRows>
__device__ inline void finish_tile(const GemmParams& p, const SumTile& tile) {
  const int parts = tile.columns / kPartColumns;
  for (int unit = int(threadIdx.x / 32); unit < tile.rows / kRows * parts;
       unit += int(blockDim.x / 32)) {
    const int first = unit / parts * kRows;
    const int offset = unit % parts * kPartColumns + 2 * int(threadIdx.x % 32);
    const int column = tile.column + offset;
    const ColumnTerms terms = column < p.n ? column_terms(p, column) : ColumnTerms{};
    float2 values[kRows];
    finish_pairs(p, tile, terms, first, offset, values);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = tile.row + first + i;
      if (row < p.m) store_results(p, terms, row, column, values[i]);
    }
  }
  zero_parts_behind(p, tile.row, tile.rows, tile.column + tile.columns);
}

}  // namespace saccade::ops::detail
