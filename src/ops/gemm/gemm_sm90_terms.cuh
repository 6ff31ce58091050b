#pragma once

#include "cuda/ptx/memory.cuh"
#include "ops/gemm/epilogue.cuh"
#include "ops/gemm/gemm_sm90.cuh"

// What the epilogue of a tile combines its sums with, beside the residual and RoPE's turns. The
// threads that neither copy nor multiply fetch it into shared memory while the others multiply:
// a load by a multiplying thread would hold back its next product until it has arrived.
namespace saccade::ops::detail {

namespace ptx = cuda::ptx;

template <GemmTile kTile>
constexpr int kThreadRows = kTile.pair == Pair::kSplitK ? 1 : 2;

/// One row of a thread.
struct ThreadRow {
  int row;
  float factor;
  int position;  // kQkv
};

/// Of all rows of a tile, in shared memory.
struct RowTerms {
  float* factors;
  int* positions;  // kQkv
};

/// What the columns of a tile are combined with, in shared memory: neutral where not given.
template <bool kScaled>
struct ColumnVectors {
  float* bias;    // of each column of the tile
  float* gate;    // of each column of out
  float* scale;   // likewise
  float* weight;  // kScaled: the scale of each column's weight
};

__device__ inline int quad_lane() { return int(threadIdx.x % 4); }

__device__ inline float quad_sum(float value) {
  value += __shfl_xor_sync(~0u, value, 1);
  return value + __shfl_xor_sync(~0u, value, 2);
}

/// The upper of a thread's two rows, which are eight apart, among those of its warpgroup.
__device__ inline int row_in_group() {
  return int(threadIdx.x) % kGroupThreads / 32 * 16 + int(threadIdx.x) % 32 / 4;
}

/// The row of weight, and of bias, that is a column of the product.
template <Product kProduct>
__device__ inline int weight_row(const TiledGemm& p, int column) {
  const int eighth = column % 8;
  const int half = column / 8 % 2;
  if constexpr (kProduct == Product::kGeglu) return half * p.gemm.n + column / 16 * 8 + eighth;
  if constexpr (kProduct == Product::kQkv) {
    const int head_dim = p.rope.head_dim;
    return column / head_dim * head_dim + half * (head_dim / 2) + column % head_dim / 16 * 8 +
           eighth;
  }
  return column;
}

/// Fills the vectors of the tile that begins at `column` of the product, by kThreads threads. All
/// loads are on their way together.
template <Product kProduct, GemmTile kTile, int kThreads, bool kScaled>
__device__ inline void fetch_columns(const TiledGemm& p, const ColumnVectors<kScaled>& to,
                                     int column, int thread) {
  constexpr int kOut = kProduct == Product::kGeglu ? 2 : 1;  // columns of the product for one
  constexpr int kSteps = (kTile.columns + kThreads - 1) / kThreads;
  const GemmParams& g = p.gemm;
  const auto load = [&](const float* vector, int i, bool there, float neutral) {
    return vector && there ? vector[i] : neutral;
  };
  float bias[kSteps], weight[kSteps], gate[kSteps], scale[kSteps];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int i = thread + step * kThreads;
    const bool is_product = i < kTile.columns && column + i < kOut * g.n;
    const int row = weight_row<kProduct>(p, column + i);
    bias[step] = load(g.bias, row, is_product, 0);
    if constexpr (kScaled) weight[step] = load(g.weight_scales, row, is_product, 0);
    if constexpr (kProduct == Product::kQkv) continue;
    const int out = column / kOut + i;
    const bool is_out = i < kTile.columns / kOut && out < g.n;
    gate[step] = load(g.gate, out, is_out, 1);
    scale[step] = load(g.scale, out, is_out, 1);
  }
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int i = thread + step * kThreads;
    if (i >= kTile.columns) break;
    to.bias[i] = bias[step];
    if constexpr (kScaled) to.weight[i] = weight[step];
    if (kProduct == Product::kQkv || i >= kTile.columns / kOut) continue;
    to.gate[i] = gate[step];
    to.scale[i] = scale[step];
  }
}

/// The sum of a quad's parts of a row's squares.
__device__ inline float sum_of_parts(const float* parts, int count) {
  float sum = 0;
  if (count % 4 == 0 && reinterpret_cast<std::uintptr_t>(parts) % 16 == 0) {
    const auto* fours = reinterpret_cast<const float4*>(parts);
#pragma unroll 4
    for (int i = quad_lane(); i < count / 4; i += 4) {
      const float4 four = fours[i];
      sum += (four.x + four.y) + (four.z + four.w);
    }
  } else {
    for (int i = quad_lane(); i < count; i += 4) sum += parts[i];
  }
  return quad_sum(sum);
}

/// Fills the terms of the tile's rows, from `row` on, by kThreads threads of whole warps. After
/// wait_for_previous().
template <Product kProduct, GemmTile kTile, int kThreads, bool kRowScales>
__device__ inline void fetch_rows(const TiledGemm& p, const RowTerms& to, int row, int thread) {
  constexpr int kRows = kGroupRows * kTile.row_groups;
  const int rows = min(kRows, p.gemm.m - row);
  const auto scale_of_row = [&](int i) { return kRowScales ? p.gemm.x_scales[row + i] : 1.0f; };
  if (p.gemm.norm_squares) {
    constexpr int kQuads = kThreads / 4;
#pragma unroll 1
    for (int first = 0; first < rows; first += kQuads) {
      const int i = min(first + thread / 4, rows - 1);
      const std::int64_t from = std::int64_t(row + i) * p.gemm.norm_parts;
      const float sum = sum_of_parts(p.gemm.norm_squares + from, p.gemm.norm_parts);
      const float factor = norm_factor_of(p.gemm, sum) * scale_of_row(i);
      if (quad_lane() == 0) to.factors[i] = factor;
    }
  } else {
    for (int i = thread; i < rows; i += kThreads) to.factors[i] = scale_of_row(i);
  }
  if constexpr (kProduct == Product::kQkv) {
    for (int i = thread; i < rows; i += kThreads) to.positions[i] = p.rope.positions[row + i];
  }
}

/// A thread's rows of the tile that begins at `row`; `first` is its warpgroup's first in the tile.
template <Product kProduct, GemmTile kTile>
__device__ inline void take_rows(const TiledGemm& p, const RowTerms& from, int row, int first,
                                 int rank, ThreadRow (&rows)[kThreadRows<kTile>]) {
#pragma unroll
  for (int i = 0; i < kThreadRows<kTile>; ++i) {
    const int lower = kThreadRows<kTile> == 1 ? rank : i;
    const int local = first + row_in_group() + 8 * lower;
    rows[i] = {row + local, 1, 0};
    if (row + local >= p.gemm.m) continue;
    rows[i].factor = from.factors[local];
    if constexpr (kProduct == Product::kQkv) rows[i].position = from.positions[local];
  }
}

}  // namespace saccade::ops::detail
