#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/ptx/memory.cuh"

// How the CTAs of a cluster, each with a part of K, make one product: every CTA finishes some of
// the token tiles and gets the others' sums of them, through distributed shared memory. That moves
// about ten bytes a clock, so sums travel as f16 where the result is no more exact anyway.
namespace saccade::ops::detail::skinny {

namespace ptx = cuda::ptx;

/// What a thread sends of a tile: four sums as they are.
struct WholeSums {
  using Part = uint4;
  static constexpr int kMostTogether = 1;  // tiles in a store of 16 bytes

  __device__ static uint4 packed(const float4& v) { return ptx::words_of(v.x, v.y, v.z, v.w); }

  __device__ static void add(const uint4& part, float (&v)[4]) {
    v[0] += __uint_as_float(part.x);
    v[1] += __uint_as_float(part.y);
    v[2] += __uint_as_float(part.z);
    v[3] += __uint_as_float(part.w);
  }
};

/// The same as f16 of a 64th: finite up to 4.2e6, off by at most 2^-11 of a sum or 2^-19.
struct HalfSums {
  using Part = uint2;
  static constexpr int kMostTogether = 2;
  static constexpr float kShare = 1.0f / 64;

  __device__ static std::uint32_t pair(float low, float high) {
    const __half2 halves = __floats2half2_rn(low * kShare, high * kShare);
    return reinterpret_cast<const std::uint32_t&>(halves);
  }

  __device__ static uint2 packed(const float4& v) {
    return make_uint2(pair(v.x, v.y), pair(v.z, v.w));
  }

  __device__ static void add(const uint2& part, float (&v)[4]) {
    const float2 low = __half22float2(reinterpret_cast<const __half2&>(part.x));
    const float2 high = __half22float2(reinterpret_cast<const __half2&>(part.y));
    v[0] = fmaf(low.x, 1 / kShare, v[0]);
    v[1] = fmaf(low.y, 1 / kShare, v[1]);
    v[2] = fmaf(high.x, 1 / kShare, v[2]);
    v[3] = fmaf(high.y, 1 / kShare, v[3]);
  }
};

/// Of one warpgroup, whose threads have four sums of each of kTokens / 8 token tiles. CTA i owns
/// kOwned tiles from i kOwned on.
template <typename Sent, int kTokens, int kSplit>
struct Exchange {
  static constexpr int kTokenTiles = kTokens / 8;
  static constexpr int kOwned = (kTokenTiles + kSplit - 1) / kSplit;
  static constexpr int kTogether = kOwned % 2 == 0 ? Sent::kMostTogether : 1;
  static constexpr int kStores = kOwned / kTogether;
  // Of two CTAs, each keeps its own sums. Of more, it sends them to itself too, which takes less
  // than to pick them from registers by its rank.
  static constexpr bool kKeepsOwn = kSplit == 2;
  static constexpr int kSenders = kKeepsOwn ? 1 : kSplit;
  using Part = typename Sent::Part;
  using Sums = float[kTokens / 2];

  struct alignas(sizeof(Part) * kTogether) Store {
    Part parts[kTogether];
  };
  using Memory = Store[kSenders][kStores][128];

  Memory& stores;
  std::uint32_t full;  // the barrier that stores arrive at
  int rank;
  int thread;  // of 128

  __device__ static int owned(int rank) { return min(max(kTokenTiles - rank * kOwned, 0), kOwned); }

  /// What a CTA receives.
  __device__ static int received_bytes(int rank) {
    return (owned(rank) + kTogether - 1) / kTogether * int(sizeof(Memory)) / kStores;
  }

  /// A tile's sums; beyond the last tile, any.
  __device__ static float4 tile_of(const Sums& sums, int tile) {
    const float* v = sums + 4 * min(tile, kTokenTiles - 1);
    return make_float4(v[0], v[1], v[2], v[3]);
  }

  /// The j-th tile of CTA `owner` of two.
  __device__ static float4 pick(const Sums& sums, int owner, int j) {
    const float4 first = tile_of(sums, j);
    const float4 second = tile_of(sums, kOwned + j);
    return {owner == 0 ? first.x : second.x, owner == 0 ? first.y : second.y,
            owner == 0 ? first.z : second.z, owner == 0 ? first.w : second.w};
  }

  /// Store `i` of those for `owner`, of tile(j) for each j.
  template <typename Tile>
  __device__ void send(int owner, int i, Tile tile) const {
    const std::uint32_t place = ptx::shared_address(&stores[kKeepsOwn ? 0 : rank][i][thread]);
    const std::uint32_t to = ptx::remote_address(place, owner);
    const std::uint32_t arrived = ptx::remote_address(full, owner);
    const Part first = Sent::packed(tile(kTogether * i));
    if constexpr (kTogether == 1) {
      ptx::store_async(to, first, arrived);
    } else {
      const Part second = Sent::packed(tile(kTogether * i + 1));
      ptx::store_async(to, make_uint4(first.x, first.y, second.x, second.y), arrived);
    }
  }

  /// Sends every CTA the sums of its tiles.
  __device__ void push(const Sums& sums) const {
    if constexpr (kKeepsOwn) {
      const int owner = rank ^ 1;
#pragma unroll
      for (int i = 0; i < kStores; ++i) {
        if (owner * kOwned + i * kTogether >= kTokenTiles) break;
        send(owner, i, [&](int j) { return pick(sums, owner, j); });
      }
    } else {
#pragma unroll
      for (int tile = 0; tile < kTokenTiles; tile += kTogether) {
        const int owner = tile / kOwned;
        send(owner, tile % kOwned / kTogether,
             [&](int j) { return tile_of(sums, owner * kOwned + j); });
      }
    }
  }

  /// The whole sums of this CTA's tiles, once `full` has all stores. Tiles that it does not own are
  /// undefined.
  __device__ void collect(const Sums& sums, float (&v)[kOwned][4]) const {
#pragma unroll
    for (int j = 0; j < kOwned; ++j) {
      const float4 own = kKeepsOwn ? pick(sums, rank, j) : float4{0, 0, 0, 0};
      v[j][0] = own.x;
      v[j][1] = own.y;
      v[j][2] = own.z;
      v[j][3] = own.w;
    }
#pragma unroll
    for (int sender = 0; sender < kSenders; ++sender) {
#pragma unroll
      for (int i = 0; i < kStores; ++i) {
        const Store store = stores[sender][i][thread];
#pragma unroll
        for (int j = 0; j < kTogether; ++j) Sent::add(store.parts[j], v[kTogether * i + j]);
      }
    }
  }
};

}  // namespace saccade::ops::detail::skinny
