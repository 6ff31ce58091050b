#pragma once

#include "ops/gemm/gemm_sm90_results.cuh"

// The results of project_qkv: rotated heads, to where attention reads them.
namespace saccade::ops::detail {

struct Turn {
  float2 cosine;
  float2 sine;
};

/// A chunk of kHeadColumns of the product.
struct HeadChunk {
  int head;
  int dim;  // its first, in the first half of the head

  /// The chunk that begins at `column`.
  __device__ static HeadChunk at(const RopeParams& p, int column) {
    return {column / p.head_dim, column % p.head_dim / 2};
  }

  /// Divides nothing, which a thread would wait for.
  __device__ HeadChunk after(const RopeParams& p, int columns) const {
    const int next = dim + columns / 2;
    return 2 * next < p.head_dim ? HeadChunk{head, next} : HeadChunk{head + 1, 0};
  }
};

/// Where a row of a head is stored.
struct HeadRow {
  void* data;
  std::int64_t at;
};

__device__ inline HeadRow head_row(const RopeParams& p, int head, int row, int position) {
  const std::int64_t first_kv = std::int64_t(position) * p.kv_heads;
  if (head < p.heads) return {p.q, (std::int64_t(row) * p.heads + head) * p.head_dim};
  head -= p.heads;
  if (head < p.kv_heads) return {p.k, (first_kv + head) * p.head_dim};
  return {p.v, (first_kv + head - p.kv_heads) * p.head_dim};
}

/// The cosines and sines of one of a thread's rows, for a chunk: those of the first arrive during
/// the last products.
struct Turns {
  Turn turn[kChunk];

  __device__ void load(const RopeParams& p, const HeadChunk& chunk, int position) {
    const float* table =
        p.table + std::int64_t(position) * p.head_dim + chunk.dim + 2 * quad_lane();
#pragma unroll
    for (int j = 0; j < kChunk; ++j) {
      turn[j] = {{1, 1}, {0, 0}};
      if (chunk.head >= p.heads + p.kv_heads) continue;
      turn[j].cosine = __ldg(reinterpret_cast<const float2*>(table + 8 * j));
      turn[j].sine = __ldg(reinterpret_cast<const float2*>(table + p.head_dim / 2 + 8 * j));
    }
  }
};

/// `column` is the product's first of the tile.
template <GemmTile kTile, bool kScaled>
__device__ inline void finish_heads(const TiledGemm& tiled, const float (&sums)[kTile.columns / 2],
                                    const ThreadRow (&rows)[kThreadRows<kTile>],
                                    Turns (&turns)[kThreadRows<kTile>],
                                    const ColumnVectors<kScaled>& vectors, int column) {
  constexpr int kRows = kThreadRows<kTile>;
  const RopeParams& p = tiled.rope;
  HeadChunk chunk = HeadChunk::at(p, column);
#pragma unroll 1
  for (int index = 0; index < kTile.columns / kHeadColumns; ++index) {
    if (chunk.head >= p.heads + 2 * p.kv_heads) break;
    const HeadChunk next = chunk.after(p, kHeadColumns);
    const int first = kHeadColumns * index;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const auto [row, factor, position] = rows[i];
      float2 part[2 * kChunk];
      float2 low[kChunk], high[kChunk];
      pick<2 * kChunk>(sums, index, i, part);
#pragma unroll
      for (int j = 0; j < kChunk; ++j) {
        const auto& [cosine, sine] = turns[i].turn[j];
        const float2 a = linear(part[2 * j], factor, vectors, first + 16 * j);
        const float2 b = linear(part[2 * j + 1], factor, vectors, first + 16 * j + 8);
        low[j] = {a.x * cosine.x - b.x * sine.x, a.y * cosine.y - b.y * sine.y};
        high[j] = {b.x * cosine.x + a.x * sine.x, b.y * cosine.y + a.y * sine.y};
      }
      turns[i].load(p, next, position);
      const HeadRow to = head_row(p, chunk.head, row, position);
      const RowChunk at{to.at + chunk.dim, row < tiled.gemm.m ? kHeadColumns / 2 : 0};
      store_vectors(to.data, p.dtype, at, low);
      store_vectors(to.data, p.dtype, {at.at + p.head_dim / 2, at.limit}, high);
    }
    chunk = next;
  }
}

}  // namespace saccade::ops::detail
