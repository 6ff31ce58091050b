#pragma once

#include "cuda/ptx/convert.cuh"
#include "ops/gemm/gemm_sm90_results.cuh"
#include "ops/quantize/quantize.cuh"

// The results that policies ask for (see Form): what finish_any() does, with fewer questions on the
// way.
namespace saccade::ops::detail {

/// The activated product in the type of x. Tiles of kGeglu follow each other on a multiprocessor,
/// which has the code after the first: it is unrolled.
template <Product kProduct, GemmTile kTile, DType kType, bool kScaled>
__device__ inline void finish_narrow(const TiledGemm& tiled, const float (&sums)[kTile.columns / 2],
                                     const ThreadRow (&rows)[kThreadRows<kTile>],
                                     const ColumnVectors<kScaled>& vectors, int column_tile) {
  constexpr int kRows = kThreadRows<kTile>;
  constexpr int kColumns = kOutColumns<kProduct, kTile>;
  constexpr int kEights = kPartEights<kProduct>;
  const GemmParams& p = tiled.gemm;
  const auto finish_part = [&](const float2(&part)[kEights], int i, int index) {
    float2 values[kChunk];
    activated_chunk<kProduct>(p, part, rows[i].factor, vectors, 8 * kEights * index, values);
    const auto to = chunk_of<kColumns>(p, rows[i].row, column_tile * kColumns, index);
    store_vectors(p.out, kType, to, values);
  };
  if constexpr (kProduct == Product::kGeglu) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int index = 0; index < kChunks<kProduct, kTile>; ++index) {
        float2 part[kEights];
#pragma unroll
        for (int j = 0; j < kEights; ++j) {
          const int at = 4 * (kEights * index + j) + 2 * i;
          part[j] = float2{sums[at], sums[at + 1]};
        }
        finish_part(part, i, index);
      }
    }
  } else {
#pragma unroll 1
    for (int index = 0; index < kChunks<kProduct, kTile>; ++index) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        float2 part[kEights];
        pick<kEights>(sums, index, i, part);
        finish_part(part, i, index);
      }
    }
  }
}

/// Eight eights of a row in e4m3, 16 neighbouring bytes for each lane. `values` are this lane's
/// pairs, of which a word takes two, an eight apart.
__device__ inline uint4 quantized_words(const float2* values, float inverse) {
  std::uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 low = values[2 * i];
    const float2 high = values[2 * i + 1];
    words[i] = ptx::e4m3_pair(low.x * inverse, low.y * inverse) |
               ptx::e4m3_pair(high.x * inverse, high.y * inverse) << 16;
  }
  transpose_in_quad(words);
  constexpr int kLow = 0x5410;  // halves of two words
  constexpr int kHigh = 0x7632;
  return make_uint4(__byte_perm(words[0], words[1], kLow), __byte_perm(words[2], words[3], kLow),
                    __byte_perm(words[0], words[1], kHigh), __byte_perm(words[2], words[3], kHigh));
}

/// The product of kGeglu in e4m3, with its tile's columns of a row as one block of scales.
template <GemmTile kTile>
__device__ inline void finish_quantized(const TiledGemm& tiled,
                                        const float (&sums)[kTile.columns / 2],
                                        const ThreadRow (&rows)[kThreadRows<kTile>],
                                        const ColumnVectors<true>& vectors, int column_tile) {
  constexpr auto kProduct = Product::kGeglu;
  constexpr int kColumns = kOutColumns<kProduct, kTile>;
  constexpr int kEights = kPartEights<kProduct>;
  static_assert(kColumns == kScaleBlock);
  const GemmParams& p = tiled.gemm;
#pragma unroll
  for (int i = 0; i < kThreadRows<kTile>; ++i) {
    float2 values[kColumns / 8];
    float largest = 0;
#pragma unroll
    for (int index = 0; index < kChunks<kProduct, kTile>; ++index) {
      float2 part[kEights];
#pragma unroll
      for (int j = 0; j < kEights; ++j) {
        const int at = 4 * (kEights * index + j) + 2 * i;
        part[j] = float2{sums[at], sums[at + 1]};
      }
      float2 chunk[kChunk];
      activated_chunk<kProduct>(p, part, rows[i].factor, vectors, 8 * kEights * index, chunk);
#pragma unroll
      for (int j = 0; j < kChunk; ++j) {
        values[kChunk * index + j] = chunk[j];
        largest = larger_magnitude(larger_magnitude(largest, chunk[j].x), chunk[j].y);
      }
    }
    const float scale = scale_of(largest_of_lanes<4>(largest));
    const float inverse = __fdividef(1.0f, scale);
    __syncwarp();  // The next row's values need the registers of this one's.
    const int row = rows[i].row;
    auto* to = static_cast<std::uint8_t*>(p.quantized) + std::int64_t(row) * p.n +
               column_tile * kColumns + 16 * quad_lane();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4 words = quantized_words(values + 8 * half, inverse);
      if (row < p.m) __stcg(reinterpret_cast<uint4*>(to + 64 * half), words);
    }
    if (row < p.m && quad_lane() == 0) {
      p.quantized_scales[std::int64_t(column_tile) * p.m + row] = scale;
    }
  }
}

// --- results added to f32 rows ---

/// A lane of a quad has four neighbouring columns of each two eights, from foursome() on.
__device__ inline int foursome() { return 8 * (quad_lane() % 2) + 4 * (quad_lane() / 2); }

__device__ inline float4 neighbours(float2 first, float2 second) {
  const bool odd = quad_lane() % 2 == 1;
  const float2 sent = odd ? first : second;
  const float2 got{__shfl_xor_sync(~0u, sent.x, 1), __shfl_xor_sync(~0u, sent.y, 1)};
  return odd ? float4{got.x, got.y, second.x, second.y} : float4{first.x, first.y, got.x, got.y};
}

constexpr int kFours = kChunk / 2;  // of a lane, in a chunk

/// The residual of one of a thread's rows, a chunk or two ahead: the first arrive during the last
/// products.
template <GemmTile kTile>
struct Residual {
  // Wide tiles leave fewer registers.
  static constexpr int kAhead = kThreadRows<kTile> == 1 || kTile.columns < 128 ? 2 : 1;

  float4 held[kAhead][kFours];

  __device__ static void load(const GemmParams& p, int row, int column, int index,
                              float4 (&to)[kFours]) {
    const RowChunk from = chunk_of<kTile.columns>(p, row, column, index);
    const float* first = static_cast<const float*>(p.residual) + from.at + foursome();
#pragma unroll
    for (int j = 0; j < kFours; ++j) {
      to[j] = {0, 0, 0, 0};
      if (16 * j + foursome() >= from.limit) continue;
      to[j] = __ldcg(reinterpret_cast<const float4*>(first + 16 * j));
    }
  }

  __device__ void load_early(const TiledGemm& p, int row, int column) {
    if (p.form != Form::kResidual) return;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) load(p.gemm, row, column, i, held[i]);
  }

  /// What follows chunk `index`, which has been used.
  __device__ void advance(const GemmParams& p, int row, int column, int index) {
#pragma unroll
    for (int j = 0; j < kFours; ++j) held[0][j] = held[kAhead - 1][j];
    load(p, row, column, index + kAhead, held[kAhead - 1]);
  }
};

/// Two sixteens of columns times scale, 16 bytes of the row from each lane: lanes 0 and 1 of a quad
/// store the first sixteen, lanes 2 and 3 the second.
template <DType kType>
__device__ inline void store_scaled(void* scaled, const RowChunk& to, const float4& first,
                                    const float4& second) {
  const std::uint32_t low[]{packed_pair(kType, first.x, first.y),
                            packed_pair(kType, first.z, first.w)};
  const std::uint32_t high[]{packed_pair(kType, second.x, second.y),
                             packed_pair(kType, second.z, second.w)};
  const bool upper = quad_lane() >= 2;
  const std::uint32_t got[]{__shfl_xor_sync(~0u, upper ? low[0] : high[0], 2),
                            __shfl_xor_sync(~0u, upper ? low[1] : high[1], 2)};
  const int column = (upper ? 16 : 0) + 8 * (quad_lane() % 2);
  const uint4 words = upper ? make_uint4(got[0], got[1], high[0], high[1])
                            : make_uint4(low[0], low[1], got[0], got[1]);
  auto* first_word = static_cast<std::uint16_t*>(scaled) + to.at + column;
  if (column < to.limit) __stcg(reinterpret_cast<uint4*>(first_word), words);
}

/// Stores a chunk of a row, and its scaled copy where a norm follows. Returns this thread's sum of
/// squares.
template <DType kType>
__device__ inline float store_added(const GemmParams& p, const RowChunk& to, float4 (&out)[kFours],
                                    const float* scales) {
  float squares = 0;
  float* first = static_cast<float*>(p.out) + to.at + foursome();
#pragma unroll
  for (int j = 0; j < kFours; ++j) {
    float4& four = out[j];
    if (16 * j + foursome() < to.limit) {
      __stcg(reinterpret_cast<float4*>(first + 16 * j), four);
      squares += (four.x * four.x + four.y * four.y) + (four.z * four.z + four.w * four.w);
    }
    const float4 scale = *reinterpret_cast<const float4*>(scales + 16 * j + foursome());
    four = {four.x * scale.x, four.y * scale.y, four.z * scale.z, four.w * scale.w};
  }
  if (p.scaled) store_scaled<kType>(p.scaled, to, out[0], out[1]);
  return squares;
}

/// activation(product) + residual in f32 and, for the next norm, its scaled copy and squares. out
/// may be the residual: each element is read and then written by the same thread.
template <GemmTile kTile, DType kType, bool kScaled>
__device__ inline void finish_residual(const TiledGemm& tiled,
                                       const float (&sums)[kTile.columns / 2],
                                       const ThreadRow (&rows)[kThreadRows<kTile>],
                                       Residual<kTile> (&residual)[kThreadRows<kTile>],
                                       const ColumnVectors<kScaled>& vectors, int column_tile) {
  constexpr int kRows = kThreadRows<kTile>;
  const GemmParams& p = tiled.gemm;
  const int column = column_tile * kTile.columns;
  float squares[kRows] = {};
#pragma unroll 1
  for (int index = 0; index < kChunks<Product::kLinear, kTile>; ++index) {
    const int first = 8 * kChunk * index;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = rows[i].row;
      float2 values[kChunk];
      float4 out[kFours];
      pick<kChunk>(sums, index, i, values);
      activated_chunk<Product::kLinear>(p, values, rows[i].factor, vectors, first, values);
#pragma unroll
      for (int j = 0; j < kFours; ++j) {
        const float4 four = neighbours(values[2 * j], values[2 * j + 1]);
        const float4 added = residual[i].held[0][j];
        out[j] = {four.x + added.x, four.y + added.y, four.z + added.z, four.w + added.w};
      }
      residual[i].advance(p, row, column, index);
      const auto to = chunk_of<kTile.columns>(p, row, column, index);
      squares[i] += store_added<kType>(p, to, out, vectors.scale + first);
    }
  }
  if (p.squares) store_squares(tiled, rows, column_tile, squares);
}

/// Finishes a tile of kLinear or kGeglu, of which the latter has one form.
template <Product kProduct, GemmTile kTile, DType kType, bool kScaled>
__device__ inline void finish(const TiledGemm& tiled, const float (&sums)[kTile.columns / 2],
                              const ThreadRow (&rows)[kThreadRows<kTile>],
                              Residual<kTile> (&residual)[kThreadRows<kTile>],
                              const ColumnVectors<kScaled>& vectors, int column_tile) {
  if constexpr (kScaled && kProduct == Product::kGeglu) {
    finish_quantized<kTile>(tiled, sums, rows, vectors, column_tile);
  } else if (kProduct == Product::kGeglu || tiled.form == Form::kNarrow) {
    finish_narrow<kProduct, kTile, kType>(tiled, sums, rows, vectors, column_tile);
  } else if constexpr (kProduct == Product::kLinear) {
    if (tiled.form == Form::kResidual) {
      finish_residual<kTile, kType>(tiled, sums, rows, residual, vectors, column_tile);
    } else {
      finish_any<kTile>(tiled, sums, rows, vectors, column_tile);
    }
  }
}

}  // namespace saccade::ops::detail
