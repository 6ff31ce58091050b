#pragma once

#include "ops/gemm/gemm_sm90_results.cuh"

// The results of project_qkv: rotated heads, to where attention reads them.
namespace saccade::ops::detail {

struct Turn {
  float2 cosine;
  float2 sine;
};

/// Where a row of a head is stored.
struct HeadRow {
  void* data;
  std::int64_t at;
  bool rotates;
};

__device__ inline HeadRow head_row(const RopeParams& p, int head, int row, int position) {
  const std::int64_t first_kv = std::int64_t(position) * p.kv_heads;
  if (head < p.heads) return {p.q, (std::int64_t(row) * p.heads + head) * p.head_dim, true};
  head -= p.heads;
  if (head < p.kv_heads) return {p.k, (first_kv + head) * p.head_dim, true};
  return {p.v, (first_kv + head - p.kv_heads) * p.head_dim, false};
}

/// `column` is the product's first of the tile, which is a whole number of kHeadColumns.
template <GemmTile kTile>
__device__ inline void finish_heads(const TiledGemm& tiled, const float (&sums)[kTile.columns / 2],
                                    const ThreadRows<kThreadRows<kTile>>& rows,
                                    const ColumnVectors& vectors, int column) {
  const RopeParams& p = tiled.rope;
  const int half = p.head_dim / 2;
#pragma unroll
  for (int first = 0; first < kTile.columns; first += kHeadColumns) {
    const int head = (column + first) / p.head_dim;
    const int dim = (column + first) % p.head_dim / 2;  // of the chunk in the first half
    if (head >= p.heads + 2 * p.kv_heads) break;
#pragma unroll
    for (int i = 0; i < kThreadRows<kTile>; ++i) {
      const HeadRow to = head_row(p, head, rows.row[i], rows.position[i]);
      const float* table = p.table + std::int64_t(rows.position[i]) * p.head_dim + dim;
      float2 low[kChunk], high[kChunk];
#pragma unroll
      for (int j = 0; j < kChunk; ++j) {
        const int pair = 8 * j + 2 * quad_lane();
        Turn turn{{1, 1}, {0, 0}};
        if (to.rotates) {
          turn.cosine = __ldg(reinterpret_cast<const float2*>(table + pair));
          turn.sine = __ldg(reinterpret_cast<const float2*>(table + half + pair));
        }
        const int eight = first / 8 + 2 * j;
        const float2 a = linear(sums, eight, i, rows.factor[i], vectors);
        const float2 b = linear(sums, eight + 1, i, rows.factor[i], vectors);
        low[j] = {a.x * turn.cosine.x - b.x * turn.sine.x, a.y * turn.cosine.y - b.y * turn.sine.y};
        high[j] = {b.x * turn.cosine.x + a.x * turn.sine.x,
                   b.y * turn.cosine.y + a.y * turn.sine.y};
      }
      const int limit = rows.row[i] < tiled.gemm.m ? kHeadColumns / 2 : 0;
      store_chunk(to.data, p.dtype, {to.at + dim, limit, kChunk}, true, low);
      store_chunk(to.data, p.dtype, {to.at + dim + half, limit, kChunk}, true, high);
    }
  }
}

}  // namespace saccade::ops::detail
