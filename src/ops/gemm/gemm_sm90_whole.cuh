#pragma once

#include "ops/gemm/gemm_sm90_results.cuh"

// The results that policies ask for, in tiles whose columns all exist: what finish_any() does, with
// fewer questions on the way.
namespace saccade::ops::detail {

enum class Form : std::uint8_t {
  kNarrow,   // the activated product alone, in the type of x
  kResidual  // added to f32 rows
};

/// Four eights of columns of one row from element `at` on.
template <DType kType>
__device__ inline void store_whole(void* data, std::int64_t at, bool exists,
                                   const float2 (&values)[kChunk]) {
  const int lane = quad_lane();
  if constexpr (kType == DType::kF32) {
    float* first = static_cast<float*>(data) + at + 2 * lane;
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      if (exists) __stcg(reinterpret_cast<float2*>(first + 8 * i), values[i]);
    }
  } else {
    std::uint32_t words[kChunk];
#pragma unroll
    for (int i = 0; i < kChunk; ++i) words[i] = packed_pair(kType, values[i].x, values[i].y);
    transpose_in_quad(words);
    auto* first = reinterpret_cast<uint4*>(static_cast<std::uint16_t*>(data) + at + 8 * lane);
    if (exists) __stcg(first, make_uint4(words[0], words[1], words[2], words[3]));
  }
}

/// Zeros in rows that do not exist.
__device__ inline void load_whole(const void* data, std::int64_t at, bool exists,
                                  float2 (&values)[kChunk]) {
  const float* first = static_cast<const float*>(data) + at + 2 * quad_lane();
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    values[i] = exists ? __ldcg(reinterpret_cast<const float2*>(first + 8 * i)) : float2{0, 0};
  }
}

/// The residual form's `scaled` and this thread's sum of squares, if somebody wants them.
template <DType kType>
__device__ inline float finish_next(const GemmParams& p, int first, std::int64_t at, bool exists,
                                    const ColumnVectors& vectors, float2 (&values)[kChunk]) {
  if (!p.scaled) return 0;
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kChunk; ++j) {
    squares += values[j].x * values[j].x + values[j].y * values[j].y;
    const float2 scale = pair_at(vectors.scale, 8 * (first + j) + 2 * quad_lane());
    values[j] = {values[j].x * scale.x, values[j].y * scale.y};
  }
  store_whole<kType>(p.scaled, at, exists, values);
  return squares;
}

/// `column` is out's first of the tile; kType is that of x.
template <Product kProduct, GemmTile kTile, Form kForm, DType kType>
__device__ inline void finish_whole(const TiledGemm& tiled, const float (&sums)[kTile.columns / 2],
                                    const ThreadRows<kThreadRows<kTile>>& rows,
                                    const ColumnVectors& vectors, int column_tile) {
  constexpr int kRows = kThreadRows<kTile>;
  constexpr int kColumns = kProduct == Product::kGeglu ? kTile.columns / 2 : kTile.columns;
  constexpr bool kAdds = kForm == Form::kResidual;
  const GemmParams& p = tiled.gemm;
  std::int64_t at[kRows];
  bool exists[kRows];
  float2 residual[kRows][kChunk];
  float squares[kRows] = {};
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    at[i] = std::int64_t(rows.row[i]) * p.n + column_tile * kColumns;
    exists[i] = rows.row[i] < p.m;
    if constexpr (kAdds) load_whole(p.residual, at[i], exists[i], residual[i]);
  }
#pragma unroll
  for (int first = 0; first < kColumns / 8; first += kChunk) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float2 values[kChunk];
      activated_chunk<kProduct>(p, sums, first, kChunk, i, rows.factor[i], vectors, values);
      if constexpr (!kAdds) {
        store_whole<kType>(p.out, at[i] + 8 * first, exists[i], values);
      } else {
#pragma unroll
        for (int j = 0; j < kChunk; ++j) {
          values[j] = {values[j].x + residual[i][j].x, values[j].y + residual[i][j].y};
        }
        // Ahead of the stores: out may be the residual, of which the compiler moves no load.
        const int next = first + kChunk;
        if (next < kColumns / 8) {
          load_whole(p.residual, at[i] + 8 * next, exists[i], residual[i]);
        }
        store_whole<DType::kF32>(p.out, at[i] + 8 * first, exists[i], values);
        squares[i] += finish_next<kType>(p, first, at[i] + 8 * first, exists[i], vectors, values);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    if (kAdds && p.squares) store_squares(tiled, rows.row[i], column_tile, squares[i]);
  }
}

/// Finishes a tile of kLinear or kGeglu.
template <Product kProduct, GemmTile kTile, DType kType>
__device__ inline void finish(const TiledGemm& tiled, const float (&sums)[kTile.columns / 2],
                              const ThreadRows<kThreadRows<kTile>>& rows,
                              const ColumnVectors& vectors, int column_tile) {
  constexpr int kColumns = kProduct == Product::kGeglu ? kTile.columns / 2 : kTile.columns;
  if constexpr (kColumns % (8 * kChunk) == 0) {
    const GemmParams& p = tiled.gemm;
    const bool whole = tiled.vectors && (column_tile + 1) * kColumns <= p.n && !p.gate;
    if (whole && p.out_type == kType && !p.residual && !p.scaled) {
      return finish_whole<kProduct, kTile, Form::kNarrow, kType>(tiled, sums, rows, vectors,
                                                                 column_tile);
    }
    const bool next_fits = !p.scaled || p.scaled_type == kType;
    if (kProduct == Product::kLinear && whole && p.out_type == DType::kF32 && p.residual &&
        next_fits) {
      return finish_whole<kProduct, kTile, Form::kResidual, kType>(tiled, sums, rows, vectors,
                                                                   column_tile);
    }
  }
  finish_any<kProduct, kTile>(tiled, sums, rows, vectors, column_tile);
}

}  // namespace saccade::ops::detail
