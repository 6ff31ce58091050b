#pragma once

#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/mma.cuh"
#include "ops/gemm/epilogue.cuh"
#include "ops/gemm/gemm_sm90.cuh"
#include "ops/gemm/gemm_sm90_terms.cuh"

// From the sums in a warpgroup's registers to results in memory.
//
// The loops over a tile's columns are not unrolled, although sums are registers: what runs once is
// fetched instruction by instruction from L2, or from memory where activations have taken L2.
//
// A thread holds, for each eight columns of the tile, two neighbours in each of two rows (see
// cuda/ptx/wgmma.cuh). The four lanes of a quad share their rows. With split k, a thread finishes
// one of its rows and its twin in the other CTA the other.
namespace saccade::ops::detail {

constexpr int kChunk = 4;  // eights of columns that are stored together: 16 bytes for each lane

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

/// The sums of part `index` of a tile's columns for row i of the thread: two of each of kEights
/// eights, zeros beyond the tile. The compiler must not learn that the conditions exclude each
/// other: it would index memory instead of registers.
template <int kEights, int kFirst = 0, int kSums>
__device__ inline void pick(const float (&sums)[kSums], int index, int i, float2 (&part)[kEights]) {
  if (4 * kEights * ptx::opaque(index) == kFirst) {
#pragma unroll
    for (int j = 0; j < kEights; ++j) {
      const int at = kFirst + 4 * j + 2 * i;
      part[j] = at < kSums ? float2{sums[at % kSums], sums[(at + 1) % kSums]} : float2{0, 0};
    }
  }
  if constexpr (kFirst + 4 * kEights < kSums) {
    pick<kEights, kFirst + 4 * kEights>(sums, index, i, part);
  }
}

/// Four eights of columns of one row: those from element `at` on, of which `limit` columns exist.
/// Rows and limits differ from quad to quad.
struct RowChunk {
  std::int64_t at;
  int limit;
};

/// Chunk `index` of a row, in a tile of kColumns that begins at `column` of out.
template <int kColumns>
__device__ inline RowChunk chunk_of(const GemmParams& p, int row, int column, int index) {
  const int first = 8 * kChunk * index;
  const int limit = min(p.n - column, kColumns) - first;
  return {std::int64_t(row) * p.n + column + first, row < p.m ? limit : 0};
}

/// Whether this lane's pair in eight i exists.
__device__ inline bool has_pair(const RowChunk& chunk, int i) {
  return 8 * i + 2 * quad_lane() < chunk.limit;
}

/// Sixteen bytes of the row from each lane; rows begin at multiples of that, limits at eights. With
/// the intrinsic, for the compiler takes a plain store of a vector apart.
__device__ inline void store_vectors(void* data, DType dtype, const RowChunk& to,
                                     const float2 (&values)[kChunk]) {
  std::uint32_t words[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; ++i) words[i] = packed_pair(dtype, values[i].x, values[i].y);
  transpose_in_quad(words);
  auto* first = static_cast<std::uint16_t*>(data) + to.at + 8 * quad_lane();
  if (8 * quad_lane() < to.limit) {
    __stcg(reinterpret_cast<uint4*>(first), make_uint4(words[0], words[1], words[2], words[3]));
  }
}

__device__ inline void store_chunk(void* data, DType dtype, const RowChunk& to, bool vectors,
                                   const float2 (&values)[kChunk]) {
  if (vectors && dtype != DType::kF32) return store_vectors(data, dtype, to, values);
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const std::int64_t at = to.at + 8 * i + 2 * quad_lane();
    if (!has_pair(to, i)) continue;
    if (dtype == DType::kF32) {
      *reinterpret_cast<float2*>(static_cast<float*>(data) + at) = values[i];
    } else {
      *reinterpret_cast<std::uint32_t*>(static_cast<std::uint16_t*>(data) + at) =
          packed_pair(dtype, values[i].x, values[i].y);
    }
  }
}

/// Zeros where nothing is given.
__device__ inline void load_chunk(const void* data, DType dtype, const RowChunk& from,
                                  float2 (&values)[kChunk]) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    values[i] = {0, 0};
    if (!data || !has_pair(from, i)) continue;
    values[i] = load_pair(data, dtype, from.at + 8 * i + 2 * quad_lane());
  }
}

__device__ inline float2 pair_at(const float* values, int i) {
  return *reinterpret_cast<const float2*>(values + i);
}

/// factor * sum + bias, for this lane's pair in an eight of columns of the product, which begins at
/// `column` of the tile.
template <bool kScaled>
__device__ inline float2 linear(float2 sum, float factor, const ColumnVectors<kScaled>& vectors,
                                int column) {
  const float2 added = pair_at(vectors.bias, column + 2 * quad_lane());
  if constexpr (kScaled) {
    const float2 weight = pair_at(vectors.weight, column + 2 * quad_lane());
    sum = {sum.x * weight.x, sum.y * weight.y};
  }
  return {fmaf(sum.x, factor, added.x), fmaf(sum.y, factor, added.y)};
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

/// 1 + 2^(...), of which more than 2^60 makes no difference.
__device__ inline float bent_divisor(const Bend& bend, float x) {
  return 1 + ptx::exp2_approx(fminf(fmaf(bend.cubic * x, x, bend.linear) * x, 60.0f));
}

/// Two quotients from one reciprocal, for these are what limits an epilogue.
__device__ inline float2 bent(const Bend& bend, float2 x) {
  const float a = bent_divisor(bend, x.x);
  const float b = bent_divisor(bend, x.y);
  const float inverse = ptx::reciprocal_approx(a * b);
  return {x.x * (inverse * b), x.y * (inverse * a)};
}

/// Of the product for a chunk of out.
template <Product kProduct>
inline constexpr int kPartEights = kProduct == Product::kGeglu ? 2 * kChunk : kChunk;

template <Product kProduct, GemmTile kTile>
inline constexpr int kChunks = (kOutColumns<kProduct, kTile> + 8 * kChunk - 1) / (8 * kChunk);

/// A step's chunk of out: the activated product. `column` of the tile is the chunk's first.
template <Product kProduct, bool kScaled>
__device__ inline void activated_chunk(const GemmParams& p,
                                       const float2 (&part)[kPartEights<kProduct>], float factor,
                                       const ColumnVectors<kScaled>& vectors, int column,
                                       float2 (&values)[kChunk]) {
  const Bend bend = bend_of(kProduct == Product::kGeglu ? Activation::kGeglu : p.activation);
#pragma unroll
  for (int j = 0; j < kChunk; ++j) {
    if constexpr (kProduct == Product::kGeglu) {
      const float2 gate = bent(bend, linear(part[2 * j], factor, vectors, column + 16 * j));
      const float2 up = linear(part[2 * j + 1], factor, vectors, column + 16 * j + 8);
      values[j] = {gate.x * up.x, gate.y * up.y};
    } else {
      values[j] = linear(part[j], factor, vectors, column + 8 * j);
    }
  }
  if constexpr (kProduct == Product::kLinear) {
    if (p.activation == Activation::kNone) return;
#pragma unroll
    for (float2& value : values) value = bent(bend, value);
  }
}

/// The sum of a row's squares in a tile is part `column_tile`; parts beyond the tiles are zero.
template <int kRows>
__device__ inline void store_squares(const TiledGemm& p, const ThreadRow (&rows)[kRows],
                                     int column_tile, const float (&squares)[kRows]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const float sum = quad_sum(squares[i]);
    const int row = rows[i].row;
    if (row >= p.gemm.m) continue;
    float* parts = p.gemm.squares + std::int64_t(row) * p.gemm.squares_parts;
#pragma unroll 1
    for (int part = column_tile + quad_lane() * p.column_tiles; part < p.gemm.squares_parts;
         part += 4 * p.column_tiles) {
      parts[part] = part == column_tile ? sum : 0.0f;
    }
  }
}

/// Finishes what activated_chunk() gives and stores it. Returns this thread's sum of squares.
template <bool kScaled>
__device__ inline float finish_chunk(const TiledGemm& tiled, const RowChunk& chunk, int column,
                                     const ColumnVectors<kScaled>& vectors,
                                     float2 (&values)[kChunk]) {
  const GemmParams& p = tiled.gemm;
  float2 residual[kChunk];
  float squares = 0;
  load_chunk(p.residual, p.out_type, chunk, residual);
#pragma unroll
  for (int j = 0; j < kChunk; ++j) {
    const float2 gate = pair_at(vectors.gate, column + 8 * j + 2 * quad_lane());
    values[j] = {fmaf(values[j].x, gate.x, residual[j].x),
                 fmaf(values[j].y, gate.y, residual[j].y)};
    if (has_pair(chunk, j)) squares += values[j].x * values[j].x + values[j].y * values[j].y;
  }
  store_chunk(p.out, p.out_type, chunk, tiled.vectors, values);
  if (!p.scaled) return squares;
#pragma unroll
  for (int j = 0; j < kChunk; ++j) {
    const float2 scale = pair_at(vectors.scale, column + 8 * j + 2 * quad_lane());
    values[j] = {values[j].x * scale.x, values[j].y * scale.y};
  }
  store_chunk(p.scaled, p.scaled_type, chunk, tiled.vectors, values);
  return squares;
}

/// kLinear, any operands. out may be the residual: each element is read and then written by the
/// same thread.
template <GemmTile kTile, bool kScaled>
__device__ inline void finish_any(const TiledGemm& tiled, const float (&sums)[kTile.columns / 2],
                                  const ThreadRow (&rows)[kThreadRows<kTile>],
                                  const ColumnVectors<kScaled>& vectors, int column_tile) {
  constexpr int kRows = kThreadRows<kTile>;
  constexpr int kColumns = kTile.columns;
  const GemmParams& p = tiled.gemm;
  float squares[kRows] = {};
#pragma unroll 1
  for (int index = 0; index < kChunks<Product::kLinear, kTile>; ++index) {
    const int first = 8 * kChunk * index;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float2 values[kChunk];
      pick<kChunk>(sums, index, i, values);
      activated_chunk<Product::kLinear>(p, values, rows[i].factor, vectors, first, values);
      const auto chunk = chunk_of<kColumns>(p, rows[i].row, column_tile * kColumns, index);
      squares[i] += finish_chunk(tiled, chunk, first, vectors, values);
    }
  }
  if (p.squares) store_squares(tiled, rows, column_tile, squares);
}

}  // namespace saccade::ops::detail
