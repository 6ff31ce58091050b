#pragma once

#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/mma.cuh"
#include "ops/gemm/epilogue.cuh"
#include "ops/gemm/gemm_sm90.cuh"

// From the sums in a warpgroup's registers to results in memory.
//
// A thread holds, for each eight columns of the tile, two neighbours in each of two rows (see
// cuda/ptx/wgmma.cuh). The four lanes of a quad share their rows. With split k, a thread finishes
// one of its rows and its twin in the other CTA the other.
namespace saccade::ops::detail {

namespace ptx = cuda::ptx;

constexpr int kChunk = 4;  // eights of columns that are stored together: 16 bytes for each lane

template <GemmTile kTile>
constexpr int kThreadRows = kTile.pair == Pair::kSplitK ? 1 : 2;

/// The rows of a thread.
template <int kRows>
struct ThreadRows {
  int row[kRows];
  float factor[kRows];
  int position[kRows];  // kQkv
};

/// What the columns of a tile are combined with, in shared memory: neutral where not given.
struct ColumnVectors {
  float* bias;   // of each column of the tile
  float* gate;   // of each column of out
  float* scale;  // likewise
};

__device__ inline int quad_lane() { return int(threadIdx.x % 4); }

__device__ inline float quad_sum(float value) {
  value += __shfl_xor_sync(~0u, value, 1);
  return value + __shfl_xor_sync(~0u, value, 2);
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

/// Fills the vectors of the tile that begins at `column` of the product, by a warpgroup whose
/// named barrier is `barrier`.
template <Product kProduct, GemmTile kTile>
__device__ inline void load_vectors(const TiledGemm& p, const ColumnVectors& to, int column,
                                    int barrier) {
  constexpr int kOut = kProduct == Product::kGeglu ? 2 : 1;  // columns of the product for one
  const int thread = int(threadIdx.x) % kGroupThreads;
  const int columns = kOut * p.gemm.n;
  ptx::named_barrier(barrier, kGroupThreads);  // The tile before this one is finished.
  for (int i = thread; i < kTile.columns; i += kGroupThreads) {
    const bool given = p.gemm.bias && column + i < columns;
    to.bias[i] = given ? p.gemm.bias[weight_row<kProduct>(p, column + i)] : 0.0f;
  }
  for (int i = thread; kProduct != Product::kQkv && i < kTile.columns / kOut; i += kGroupThreads) {
    const int out = column / kOut + i;
    to.gate[i] = p.gemm.gate && out < p.gemm.n ? p.gemm.gate[out] : 1.0f;
    to.scale[i] = p.gemm.scale && out < p.gemm.n ? p.gemm.scale[out] : 1.0f;
  }
  ptx::named_barrier(barrier, kGroupThreads);
}

/// What a thread must know of its rows; `row` is the warpgroup's first. After wait_for_previous().
template <Product kProduct, GemmTile kTile>
__device__ inline ThreadRows<kThreadRows<kTile>> load_rows(const TiledGemm& p, int row, int rank) {
  ThreadRows<kThreadRows<kTile>> rows;
#pragma unroll
  for (int i = 0; i < kThreadRows<kTile>; ++i) {
    const int lower = kThreadRows<kTile> == 1 ? rank : i;
    const int r =
        row + int(threadIdx.x) % kGroupThreads / 32 * 16 + int(threadIdx.x) % 32 / 4 + 8 * lower;
    rows.row[i] = r;
    rows.factor[i] = 1;
    if (p.gemm.norm_squares) {
      float sum = 0;
      const float* parts = p.gemm.norm_squares + std::int64_t(r) * p.gemm.norm_parts;
#pragma unroll 8
      for (int part = quad_lane(); r < p.gemm.m && part < p.gemm.norm_parts; part += 4) {
        sum += parts[part];
      }
      rows.factor[i] = rsqrtf(quad_sum(sum) / float(p.gemm.k) + p.gemm.norm_eps);
    }
    rows.position[i] = 0;
    if (kProduct == Product::kQkv && r < p.gemm.m) rows.position[i] = p.rope.positions[r];
  }
  return rows;
}

/// Lane q of a quad gives word q of four fours of words, and gets the four words of the q-th.
__device__ inline void transpose_in_quad(std::uint32_t (&words)[4]) {
#pragma unroll
  for (int bit = 1; bit < 4; bit *= 2) {
    const bool upper = quad_lane() & bit;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i & bit) continue;
      const std::uint32_t sent = upper ? words[i] : words[i + bit];
      const std::uint32_t received = __shfl_xor_sync(~0u, sent, bit);
      words[i] = upper ? received : words[i];
      words[i + bit] = upper ? words[i + bit] : received;
    }
  }
}

/// Eights of columns of one row: those from element `at` on, of which `limit` columns exist. The
/// same eights in every lane of a warp; rows and limits differ from quad to quad.
struct RowChunk {
  std::int64_t at;
  int limit;
  int eights;
};

/// Whether this lane's pair in eight i exists.
__device__ inline bool has_pair(const RowChunk& chunk, int i) {
  return i < chunk.eights && 8 * i + 2 * quad_lane() < chunk.limit;
}

/// With the intrinsic, for the compiler takes a plain store of a vector apart.
__device__ inline void store_chunk(void* data, DType dtype, const RowChunk& to, bool vectors,
                                   const float2 (&values)[kChunk]) {
  const int lane = quad_lane();
  if (dtype == DType::kF32) {
    float* first = static_cast<float*>(data) + to.at + 2 * lane;
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if (has_pair(to, i)) __stcg(reinterpret_cast<float2*>(first + 8 * i), values[i]);
    }
    return;
  }
  std::uint32_t words[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; ++i) words[i] = packed_pair(dtype, values[i].x, values[i].y);
  std::uint16_t* first = static_cast<std::uint16_t*>(data) + to.at;
  if (vectors && to.eights == kChunk) {
    transpose_in_quad(words);
    if (8 * lane < to.limit) {
      __stcg(reinterpret_cast<uint4*>(first + 8 * lane),
             make_uint4(words[0], words[1], words[2], words[3]));
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    if (has_pair(to, i)) *reinterpret_cast<std::uint32_t*>(first + 8 * i + 2 * lane) = words[i];
  }
}

/// Zeros where nothing is given.
__device__ inline void load_chunk(const void* data, DType dtype, const RowChunk& from,
                                  float2 (&values)[kChunk]) {
  const std::int64_t first = from.at + 2 * quad_lane();
#pragma unroll
  for (float2& value : values) value = {0, 0};
  if (!data) return;
  if (dtype == DType::kF32) {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if (has_pair(from, i)) values[i] = load_pair(data, DType::kF32, first + 8 * i);
    }
    return;
  }
  std::uint32_t words[kChunk] = {};
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    if (!has_pair(from, i)) continue;
    words[i] = *reinterpret_cast<const std::uint32_t*>(static_cast<const std::uint16_t*>(data) +
                                                       first + 8 * i);
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) values[i] = load_pair(&words[i], dtype, 0);
}

__device__ inline float2 pair_at(const float* values, int i) {
  return *reinterpret_cast<const float2*>(values + i);
}

/// factor * sum + bias, for a pair of columns of the product.
template <int kSums>
__device__ inline float2 linear(const float (&sums)[kSums], int eight, int i, float factor,
                                const ColumnVectors& vectors) {
  const float2 bias = pair_at(vectors.bias, 8 * eight + 2 * quad_lane());
  return {fmaf(sums[4 * eight + 2 * i], factor, bias.x),
          fmaf(sums[4 * eight + 2 * i + 1], factor, bias.y)};
}

/// gelu and silu are x / (1 + 2^((linear + cubic x^2) x)).
struct Bend {
  float linear;
  float cubic;
};

__device__ inline Bend bend_of(Activation activation) {
  constexpr float kLog2E = 1.44269504f;
  if (activation == Activation::kSilu) return {-kLog2E, 0};
  return {-1.59576912f * kLog2E, -1.59576912f * 0.044715f * kLog2E};
}

__device__ inline float bent(const Bend& bend, float x) {
  const float power = ptx::exp2_approx(fmaf(bend.cubic * x, x, bend.linear) * x);
  return x * ptx::reciprocal_approx(1 + power);
}

__device__ inline float2 bent(const Bend& bend, float2 x) {
  return {bent(bend, x.x), bent(bend, x.y)};
}

/// Row i of the thread, `eights` of out's columns from `first` on: the activated product.
template <Product kProduct, int kSums>
__device__ inline void activated_chunk(const GemmParams& p, const float (&sums)[kSums], int first,
                                       int eights, int i, float factor,
                                       const ColumnVectors& vectors, float2 (&values)[kChunk]) {
  const Bend bend = bend_of(kProduct == Product::kGeglu ? Activation::kGeglu : p.activation);
#pragma unroll
  for (int j = 0; j < kChunk; ++j) {
    values[j] = {0, 0};
    if (j >= eights) continue;
    if constexpr (kProduct == Product::kGeglu) {
      const float2 gate = bent(bend, linear(sums, 2 * (first + j), i, factor, vectors));
      const float2 up = linear(sums, 2 * (first + j) + 1, i, factor, vectors);
      values[j] = {gate.x * up.x, gate.y * up.y};
    } else {
      values[j] = linear(sums, first + j, i, factor, vectors);
    }
  }
  if constexpr (kProduct == Product::kLinear) {
    if (p.activation == Activation::kNone) return;
#pragma unroll
    for (float2& value : values) value = bent(bend, value);
  }
}

/// The sum of a row's squares in a tile is part `column_tile`; parts beyond the tiles are zero.
__device__ inline void store_squares(const TiledGemm& p, int row, int column_tile, float sum) {
  sum = quad_sum(sum);
  if (row >= p.gemm.m) return;
  float* parts = p.gemm.squares + std::int64_t(row) * p.gemm.squares_parts;
  for (int part = column_tile + quad_lane() * p.column_tiles; part < p.gemm.squares_parts;
       part += 4 * p.column_tiles) {
    parts[part] = part == column_tile ? sum : 0.0f;
  }
}

/// Finishes what activated_chunk() gives and stores it. Returns this thread's sum of squares.
template <Product kProduct, int kSums>
__device__ inline float finish_chunk(const TiledGemm& tiled, const float (&sums)[kSums], int first,
                                     const RowChunk& chunk, int i, float factor,
                                     const ColumnVectors& vectors,
                                     const float2 (&residual)[kChunk]) {
  const GemmParams& p = tiled.gemm;
  float2 values[kChunk];
  float squares = 0;
  activated_chunk<kProduct>(p, sums, first, chunk.eights, i, factor, vectors, values);
#pragma unroll
  for (int j = 0; j < chunk.eights; ++j) {
    const float2 gate = pair_at(vectors.gate, 8 * (first + j) + 2 * quad_lane());
    values[j] = {fmaf(values[j].x, gate.x, residual[j].x),
                 fmaf(values[j].y, gate.y, residual[j].y)};
    squares += values[j].x * values[j].x + values[j].y * values[j].y;
  }
  store_chunk(p.out, p.out_type, chunk, tiled.vectors, values);
  if (!p.scaled) return squares;
#pragma unroll
  for (int j = 0; j < chunk.eights; ++j) {
    const float2 scale = pair_at(vectors.scale, 8 * (first + j) + 2 * quad_lane());
    values[j] = {values[j].x * scale.x, values[j].y * scale.y};
  }
  store_chunk(p.scaled, p.scaled_type, chunk, tiled.vectors, values);
  return squares;
}

/// kLinear and kGeglu, any operands and any part of a tile.
template <Product kProduct, GemmTile kTile>
__device__ inline void finish_any(const TiledGemm& tiled, const float (&sums)[kTile.columns / 2],
                                  const ThreadRows<kThreadRows<kTile>>& rows,
                                  const ColumnVectors& vectors, int column_tile) {
  constexpr int kRows = kThreadRows<kTile>;
  constexpr int kColumns = kProduct == Product::kGeglu ? kTile.columns / 2 : kTile.columns;
  constexpr int kEights = kColumns / 8;
  const GemmParams& p = tiled.gemm;
  const int column = column_tile * kColumns;
  const auto chunk_at = [&](int i, int first) {
    const int limit = rows.row[i] < p.m ? p.n - column - 8 * first : 0;
    return RowChunk{std::int64_t(rows.row[i]) * p.n + column + 8 * first, limit,
                    min(kChunk, kEights - first)};
  };
  // Residuals are fetched a chunk ahead of the stores: out may be the residual, but each element
  // is read and written by one quad. A gated product has none in practice, and no registers left.
  constexpr bool kAhead = kProduct == Product::kLinear;
  float2 residual[kRows][kChunk];
  float squares[kRows] = {};
#pragma unroll
  for (int i = 0; kAhead && i < kRows; ++i) {
    load_chunk(p.residual, p.out_type, chunk_at(i, 0), residual[i]);
  }
#pragma unroll
  for (int first = 0; first < kEights; first += kChunk) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const RowChunk chunk = chunk_at(i, first);
      float2 current[kChunk];
      if constexpr (!kAhead) load_chunk(p.residual, p.out_type, chunk, residual[i]);
#pragma unroll
      for (int j = 0; j < kChunk; ++j) current[j] = residual[i][j];
      if (kAhead && first + kChunk < kEights) {
        load_chunk(p.residual, p.out_type, chunk_at(i, first + kChunk), residual[i]);
      }
      squares[i] +=
          finish_chunk<kProduct>(tiled, sums, first, chunk, i, rows.factor[i], vectors, current);
    }
  }
  if (!p.squares) return;
#pragma unroll
  for (int i = 0; i < kRows; ++i) store_squares(tiled, rows.row[i], column_tile, squares[i]);
}

}  // namespace saccade::ops::detail
