#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "cuda/tensor_map.h"
#include "ops/gemm/epilogue.cuh"
#include "ops/gemm/gemm.h"
#include "ops/gemm/gemm_skinny_exchange.cuh"
#include "ops/gemm/gemm_skinny_weights.cuh"
#include "ops/rope/rope.h"

// Products of at most 64 tokens, where reading the weights is the work.
//
// Weights are the 64-row operand of wgmma, tokens its columns. K is split over the CTAs of a
// cluster; each pushes its partial sums into the shared memory of the CTA that finishes those
// tokens. The first weights stream while the previous kernel still runs.
//
// Warps of a CTA: four for each 64-row tile, which multiply and finish; one whose first thread
// issues all copies; one that fetches what the epilogue needs besides the product.
//
// A tensor map picks the weight rows so that the two rows of a thread belong together: the
// 16 rows of warp w are group 4 tile + w of the map, rows i of its first half, then of its second.
//
//   product    first row 16 group + 2 i    second row: the next channel
//   geglu      gate  8 group + i           up of the same channel
//   heads      i of a head                 i + head_dim / 2, which RoPE rotates with it
//
// A CTA may exit early: nobody reads its memory, its own copies have all been waited for by the
// consumers, and what others store there is waited for by `reduced`. Nobody stores into a CTA
// before the cluster barrier, by which its barriers are initialised.
namespace saccade::ops::detail::skinny {

constexpr int kGroups = 4;  // of 16 rows in a tile
constexpr int kMaxTokens = 64;
constexpr int kLongProduct = 2048;  // of K

// CTAs that share the K of a product.
constexpr int kProductSplit = 8;
constexpr int kGegluSplit = 2;
constexpr int kQkvSplit = 4;

void gemm_skinny_geglu(const GemmParams&, CUstream_st*);

struct Tile {
  int row_tiles;      // of 64 weight rows per CTA
  int split;          // of K: CTAs of a cluster
  int weight_chunks;  // of 128 bytes of K, resident at once
  int x_chunks;
  unsigned least_bytes = 0;  // of shared memory, to keep other kernels' CTAs away
};

struct Params {
  CUtensorMap weight;  // [groups, 2, 8, k]
  CUtensorMap x;       // [m, k]
  GemmParams gemm;
  RopeParams rope;  // of project_qkv
  int first_tile;
};

/// The part of the product that a consumer thread finishes. Of token tile j it holds the sums of
/// tokens 8 j + 2 (lane % 4) and the next: v[0] v[1] of its first weight row, v[2] v[3] of its
/// second. Tokens count from first_token.
struct Place {
  int tile;
  int warp;  // of four
  int lane;
  int first_token;

  __device__ int group() const { return kGroups * tile + warp; }
  __device__ int row() const { return int(unsigned(lane) / 4); }
  __device__ int column() const { return int(unsigned(lane) % 4 * 2); }
};

/// Threads of neighbouring rows exchange, so that each holds two rows of one token: the even row
/// that of the first token, the odd row that of the second. Result: even row, odd row.
__device__ inline float2 paired_rows(float first_token, float second_token, const Place& at) {
  const bool odd = at.row() % 2;
  const float other = __shfl_xor_sync(~0u, odd ? first_token : second_token, 4);
  return odd ? make_float2(other, second_token) : make_float2(first_token, other);
}

template <typename T>
__device__ std::uint32_t address(const T& shared) {
  return ptx::shared_address(&shared);
}

/// Epilogue is a class of
///   Weight, kTile<tokens>
///   Sent                                how sums travel (gemm_skinny_exchange.cuh)
///   Constants, constants(p, place)      what is read before the previous kernel has finished
///   Inputs, inputs(p, place)            what every thread reads beside the reduction
///   Side<tokens>, fetch(p, place, side) what one warp reads beside the multiplication
///   first_group(p, tile)
///   finish(p, place, constants, inputs, side, j, v)
template <class Epilogue, int kTileTokens>
struct Kernel {
  static constexpr int kTokens = kTileTokens;
  static constexpr Tile kTile = Epilogue::template kTile<kTokens>;
  using Weight = typename Epilogue::Weight;
  static constexpr int kSplit = kTile.split;
  using Exchange = skinny::Exchange<typename Epilogue::Sent, kTokens, kSplit>;
  static constexpr int kOwned = Exchange::kOwned;  // token tiles of a CTA
  static constexpr int kConsumers = 128 * kTile.row_tiles;
  static constexpr int kCopyThread = kConsumers;
  static constexpr int kSideThread = kConsumers + 32;
  static constexpr int kThreads = kConsumers + 64;
  static constexpr int kWeightBytes = kTile.row_tiles * kRows * kRowBytes;
  static constexpr int kRatio = kWeightChunk<Weight> / kChunk;

  using Weights = skinny::Weights<Kernel, Weight>;
  using Side = typename Epilogue::template Side<8 * kOwned>;

  struct alignas(1024) Shared {
    unsigned char weight[kTile.weight_chunks][kWeightBytes];
    unsigned char x[kTile.x_chunks][kTokens * kRowBytes];
    typename Exchange::Memory exchange[kTile.row_tiles];
    Side side;
    std::uint64_t weight_full[kTile.weight_chunks];
    std::uint64_t weight_empty[kTile.weight_chunks];
    std::uint64_t x_full[kTile.x_chunks];
    std::uint64_t x_empty[kTile.x_chunks];
    std::uint64_t reduced[kTile.row_tiles];
    std::uint64_t fetched;
  };

  const Params& p;
  Shared& s;
  int rank;
  int chunks;  // of x, of this CTA's part of K
  Place at;

  // --- by one thread ---

  __device__ void load_weight(int chunk, std::uint64_t policy) const {
    const int stage = chunk % kTile.weight_chunks;
    const std::uint32_t full = address(s.weight_full[stage]);
    ptx::mbarrier_expect(full, kWeightBytes);
    ptx::tensor_load(address(s.weight[stage]), &p.weight, (rank * chunks + chunk * kRatio) * kChunk,
                     0, 0,
                     Epilogue::first_group(p, p.first_tile + blockIdx.x / kSplit * kTile.row_tiles),
                     full, policy);
  }

  /// Rows beyond m stay as they are: they only reach columns that nobody stores.
  __device__ void load_x(int chunk) const {
    const int stage = chunk % kTile.x_chunks;
    const std::uint32_t full = address(s.x_full[stage]);
    ptx::mbarrier_expect(full, p.gemm.m * kRowBytes);
    ptx::tensor_load(address(s.x[stage]), &p.x, (rank * chunks + chunk) * kChunk, 0, full);
  }

  __device__ void start_weights() const {
    ptx::prefetch_tensor_map(&p.weight);
    ptx::prefetch_tensor_map(&p.x);
#pragma unroll
    for (auto& barrier : s.weight_full) ptx::mbarrier_init(address(barrier), 1);
    ptx::fence_mbarrier_init();
    const std::uint64_t policy = ptx::evict_first_policy();
#pragma unroll
    for (int chunk = 0; chunk < kTile.weight_chunks; ++chunk) {
      if (chunk * kRatio < chunks) load_weight(chunk, policy);
    }
  }

  __device__ void initialise_barriers() const {
    const auto initialise = [](auto& barriers, int arrivals) {
#pragma unroll
      for (auto& barrier : barriers) ptx::mbarrier_init(address(barrier), arrivals);
    };
    initialise(s.x_full, 1);
    initialise(s.reduced, 1);
    ptx::mbarrier_init(address(s.fetched), 32);
    initialise(s.weight_empty, kConsumers / 32);
    initialise(s.x_empty, kConsumers / 32);
    ptx::fence_mbarrier_init();
#pragma unroll
    for (auto& barrier : s.reduced) {
      ptx::mbarrier_expect(address(barrier), Exchange::received_bytes(rank));
    }
  }

  __device__ void load_rest() const {
#pragma unroll
    for (int chunk = 0; chunk < kTile.x_chunks; ++chunk) {
      if (chunk < chunks) load_x(chunk);
    }
    const std::uint64_t policy = ptx::evict_first_policy();
#pragma unroll 1
    for (int chunk = min(kTile.weight_chunks * kRatio, kTile.x_chunks); chunk < chunks; ++chunk) {
      if (chunk >= kTile.x_chunks) {
        ptx::mbarrier_wait(address(s.x_empty[chunk % kTile.x_chunks]),
                           (chunk / kTile.x_chunks - 1) % 2);
        load_x(chunk);
      }
      const int weight_chunk = chunk / kRatio;
      if (chunk % kRatio == 0 && weight_chunk >= kTile.weight_chunks) {
        ptx::mbarrier_wait(address(s.weight_empty[weight_chunk % kTile.weight_chunks]),
                           (weight_chunk / kTile.weight_chunks - 1) % 2);
        load_weight(weight_chunk, policy);
      }
    }
  }

  // --- by one thread of a warp ---

  __device__ void release_weight(int chunk) const {
    ptx::mbarrier_arrive(address(s.weight_empty[chunk % kTile.weight_chunks]));
  }

  __device__ void release_x(int chunk) const {
    ptx::mbarrier_arrive(address(s.x_empty[chunk % kTile.x_chunks]));
  }

  // --- by a warpgroup ---

  __device__ void consume(int row_tile, const typename Epilogue::Constants& constants,
                          Weights& weights) const {
    float sums[kTokens / 2] = {};
    ptx::cluster_wait();
    weights.multiply(*this, row_tile, sums);
    const std::uint32_t reduced = address(s.reduced[row_tile]);
    const Exchange exchange{s.exchange[row_tile], reduced, rank, int(threadIdx.x % 128)};
    exchange.push(sums);
    if (Exchange::owned(rank) == 0) return;
    const auto inputs = Epilogue::inputs(p, at);
    ptx::mbarrier_wait(address(s.fetched), 0);
    // What was sent lies in this CTA's shared memory, which nothing caches: an acquire of the
    // cluster's scope would only drop the L1.
    ptx::mbarrier_wait(reduced, 0);
    // The last CTA may own fewer token tiles: what it makes of the others is not stored. Without a
    // branch between them, their latencies overlap.
    float v[kOwned][4];
    exchange.collect(sums, v);
#pragma unroll
    for (int j = 0; j < kOwned; ++j) Epilogue::finish(p, at, constants, inputs, s.side, j, v[j]);
  }
};

template <class Epilogue, int kTokens>
__global__ __launch_bounds__((Kernel<Epilogue, kTokens>::kThreads)) __cluster_dims__(
    (Kernel<Epilogue, kTokens>::kSplit)) void gemm_skinny_kernel(const __grid_constant__ Params p) {
  using K = Kernel<Epilogue, kTokens>;
  extern __shared__ __align__(1024) unsigned char memory[];
  // The copies of a long product come before the next kernel's.
  const bool is_long = p.gemm.k > kLongProduct;
  if (!is_long) cuda::allow_next();
  const int thread = threadIdx.x;
  const int row_tile = thread < K::kConsumers ? thread / 128 : 0;
  const int rank = blockIdx.x % K::kSplit;
  const int tile = p.first_tile + int(blockIdx.x) / K::kSplit * K::kTile.row_tiles + row_tile;
  const K kernel{
      p, *reinterpret_cast<typename K::Shared*>(memory), rank, p.gemm.k / kChunk / K::kSplit,
      Place{tile, int(threadIdx.x / 32 % 4), int(threadIdx.x % 32), rank * K::kOwned * 8}};

  typename Epilogue::Constants constants{};
  if (thread == K::kCopyThread) kernel.start_weights();
  if (thread == K::kSideThread) kernel.initialise_barriers();
  if (thread < K::kConsumers) constants = Epilogue::constants(p, kernel.at);
  __syncthreads();
  ptx::cluster_arrive_relaxed();
  typename K::Weights weights;
  if (thread < K::kConsumers) weights.prepare(kernel, row_tile);
  cuda::wait_for_previous();
  if (is_long) cuda::allow_next();

  if (thread < K::kConsumers) return kernel.consume(row_tile, constants, weights);
  if (thread == K::kCopyThread) kernel.load_rest();
  if (thread >= K::kSideThread) {
    Epilogue::fetch(p, kernel.at, kernel.s.side);
    ptx::mbarrier_arrive(address(kernel.s.fetched));
  }
  ptx::cluster_wait();
}

// --- on the host ---

/// How a weight's rows make groups of two times eight; strides in rows.
struct WeightRows {
  std::int64_t row_stride;
  std::int64_t half_stride;
  std::int64_t group_stride;
  int groups;
};

template <class K>
Params make_params(const GemmParams& gemm, const RopeParams& rope, const WeightRows& rows,
                   int first_tile) {
  const std::int64_t k = gemm.k;
  const cuda::MapAxis weight[] = {
      {k, 1, kWeightChunk<typename K::Weight>},
      {8, rows.row_stride * k, 8},
      {2, rows.half_stride * k, 2},
      {rows.groups, rows.group_stride * k, kGroups * K::kTile.row_tiles}};
  const cuda::MapAxis x[] = {{k, 1, kChunk}, {gemm.m, k, gemm.m}};
  return {cuda::make_tensor_map(gemm.weight, gemm.weight_type, weight),
          cuda::make_tensor_map(gemm.x, kXType<typename K::Weight>, x), gemm, rope, first_tile};
}

template <class Epilogue, int kTokens>
void launch_tokens(const GemmParams& gemm, const RopeParams& rope, const WeightRows& rows,
                   int first_tile, int tiles, cudaStream_t stream) {
  using K = Kernel<Epilogue, kTokens>;
  const int clusters = (tiles + K::kTile.row_tiles - 1) / K::kTile.row_tiles;
  cuda::launch(
      gemm_skinny_kernel<Epilogue, kTokens>,
      {.grid = dim3(unsigned(clusters * K::kSplit)),
       .block = dim3(K::kThreads),
       .shared_bytes = std::max(unsigned(sizeof(typename K::Shared)), K::kTile.least_bytes),
       .order = cuda::Order::kOverlap},
      stream, make_params<K>(gemm, rope, rows, first_tile));
}

template <class Epilogue>
void launch_weights(const GemmParams& gemm, const RopeParams& rope, const WeightRows& rows,
                    int first_tile, int tiles, cudaStream_t stream) {
  const auto start = [&](auto launch) { launch(gemm, rope, rows, first_tile, tiles, stream); };
  if (gemm.m <= 16) return start(launch_tokens<Epilogue, 16>);
  if (gemm.m <= 32) return start(launch_tokens<Epilogue, 32>);
  if (gemm.m <= 56) return start(launch_tokens<Epilogue, 56>);
  start(launch_tokens<Epilogue, 64>);
}

/// `tiles` tiles of 64 weight rows, from first_tile on.
template <template <typename> class Epilogue>
void launch(const GemmParams& gemm, const RopeParams& rope, const WeightRows& rows, int first_tile,
            int tiles, cudaStream_t stream) {
  if (gemm.weight_scales) {
    return launch_weights<Epilogue<__nv_fp8_e4m3>>(gemm, rope, rows, first_tile, tiles, stream);
  }
  launch_weights<Epilogue<__nv_bfloat16>>(gemm, rope, rows, first_tile, tiles, stream);
}

}  // namespace saccade::ops::detail::skinny
