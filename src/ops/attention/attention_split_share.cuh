#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/attention/attention.h"
#include "ops/attention/attention_split_exchange.cuh"

// Which keys each CTA of a cluster takes.
namespace saccade::ops::detail::split_share {

constexpr int kTileKeys = 8;  // keys are dealt to warps in tiles
constexpr unsigned kAllLanes = 0xffffffff;

/// Consecutive rows of the cache.
struct Keys {
  int first;
  int count;
};

/// What a CTA takes of the keys: a share of those that are older than the kernel in front, and a
/// share of those which that kernel writes.
struct Share {
  Keys old;
  Keys own;
  int last;  // row that any row sees

  __device__ int old_tiles() const { return (old.count + kTileKeys - 1) / kTileKeys; }
};

__device__ inline int visible_keys(const AttentionParams& p, int token) {
  return p.visible ? p.visible[min(token, p.rows - 1)] : p.kv_rows;
}

__device__ inline Keys share_of(Keys keys, int rank) {
  const int each = (keys.count + split_exchange::kSplit - 1) / split_exchange::kSplit;
  const int skipped = min(rank * each, keys.count);
  return {keys.first + skipped, min(each, keys.count - skipped)};
}

__device__ inline Share make_share(const AttentionParams& p, int rank) {
  const int lane = threadIdx.x % 32;
  const int here = max(visible_keys(p, lane), visible_keys(p, lane + 32));
  const int visible = __reduce_max_sync(kAllLanes, here);
  const int own = min(p.rows, visible);
  const int old = visible - own;
  return {share_of({0, old}, rank), share_of({old, own}, rank), visible - 1};
}

/// Tiles of old keys that a CTA may get; with one more, its own, they fill the warps.
inline int most_old_tiles(const AttentionParams& p) {
  const int each =
      (std::max(p.kv_rows - p.rows, 0) + split_exchange::kSplit - 1) / split_exchange::kSplit;
  return (each + kTileKeys - 1) / kTileKeys;
}

}  // namespace saccade::ops::detail::split_share
