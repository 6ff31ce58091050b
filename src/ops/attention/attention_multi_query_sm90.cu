// Multi-query attention of many rows: the heads of a few tokens are the 64 rows of a tile, against
// the one head of keys and values.
//
// A CTA has one tile and two warpgroups that take every other block of keys. They issue their
// matrix products in turns, so that one's softmax hides behind the other's products. 576 tokens of
// 8 heads are 72 CTAs; the keys split over clusters of two would be 144 CTAs, of which 24 share 12
// multiprocessors and take as long.

#include <bit>

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/mma.cuh"
#include "cuda/ptx/wgmma.cuh"
#include "cuda/tensor_map.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_multi_query_rows.cuh"

namespace saccade::ops::detail {
namespace multi_query {
namespace {

constexpr int kSlots = 3;
static_assert(kHeadDim == kGroups * kScaleBlock);

// Blocks lie in shared memory as chunks of 64 columns, that is rows of 128 swizzled bytes. Each
// warp of a warpgroup copies one chunk.
constexpr int kChunkColumns = 64;
constexpr int kChunks = kHeadDim / kChunkColumns;
constexpr int kRowBytes = 128;
constexpr int kChunkBytes = kKeys * kRowBytes;
constexpr int kBlockBytes = kChunks * kChunkBytes;
constexpr int kRingBytes = kSlots * kBlockBytes;
constexpr int kQueryChunkBytes = kTileRows * kRowBytes;
constexpr int kQueryBytes = kChunks * kQueryChunkBytes;
constexpr int kBarriersAt = kQueryBytes + kGroups * kRingBytes;
constexpr int kBarriers = 1 + kGroups * (1 + kSlots);  // queries, turns, slots
constexpr int kSharedBytes = kBarriersAt + kBarriers * 8;
static_assert(kChunks == kGroupWarps && kGroups == 2);
static_assert(kSharedBytes <= 227 * 1024 && kExchangedBytes <= kRingBytes);

// Of the steps of 16 columns in q k^T, so many take the queries from registers: from shared memory
// they cost as much of its bandwidth as the keys do.
constexpr int kSteps = kHeadDim / 16;
constexpr int kHeldSteps = 8;

struct Params {
  CUtensorMap q;     // [rows heads, head_dim]
  CUtensorMap k, v;  // [kv_rows, head_dim]
  const std::int32_t* visible;
  __nv_bfloat16* out;
  int rows;
  int head_bits;  // heads are a power of two
  int kv_rows;
  float scale;  // for logits to the base 2
  std::uint8_t* quantized;
  float* quantized_scales;
};

/// Every token of the tile sees the first `least` keys, none sees more than `most`; a thread's rows
/// see `own`.
struct Seen {
  int least;
  int most;
  int own[2];
};

/// `row` is the thread's first. By whole warps.
__device__ Seen keys_seen(const Params& p, int first_row, int row) {
  if (p.visible == nullptr) return {p.kv_rows, p.kv_rows, {p.kv_rows, p.kv_rows}};
  const auto keys_of = [&](int token) { return p.visible[min(token, p.rows - 1)]; };
  const int first = first_row >> p.head_bits;
  const int last_of_tile = (kTileRows >> p.head_bits) - 1;
  const int one = keys_of(first + (lane() & last_of_tile));
  const int other = keys_of(first + (lane() + 32 & last_of_tile));
  return {__reduce_min_sync(~0u, min(one, other)),
          __reduce_max_sync(~0u, max(one, other)),
          {keys_of(row >> p.head_bits), keys_of(row + 8 >> p.head_bits)}};
}

/// One warpgroup's. The barriers' numbers are constants, which tells tools who meets there.
__device__ void meet_in_group(int group) {
  if (group == 0) {
    ptx::named_barrier(1, kGroupThreads);
  } else {
    ptx::named_barrier(2, kGroupThreads);
  }
}

/// The turns of the warpgroups to issue matrix products, 0 and up for each.
struct Turns {
  int group;
  std::uint32_t barriers;

  __device__ void wait(int turn) const {
    ptx::mbarrier_wait(barriers + group * 8, std::uint32_t(turn + 1 + group) & 1);
  }

  __device__ void pass() const {
    if (lane() == 0) ptx::mbarrier_arrive(barriers + (1 - group) * 8);
    __syncwarp();
  }
};

/// The blocks of one warpgroup on their way through its slots: item 2 j is the keys of its j-th
/// block, item 2 j + 1 the values. The second warpgroup has the halves of the values' columns
/// exchanged, and so those of its sums.
struct Ring {
  const Params& p;
  int group;
  std::uint32_t slots;
  std::uint32_t barriers;

  __device__ std::uint32_t slot(int item) const { return slots + item % kSlots * kBlockBytes; }
  __device__ std::uint32_t barrier(int item) const { return barriers + item % kSlots * 8; }
  __device__ int first_key(int item) const { return (item / 2 * kGroups + group) * kKeys; }

  __device__ void load(int item) const {
    if (lane() == 0) {
      const bool values = item % 2 == 1;
      const int chunk = group_warp();
      const int from = values ? chunk ^ group * (kChunks / 2) : chunk;
      ptx::mbarrier_expect(barrier(item), kChunkBytes);
      ptx::tensor_load(slot(item) + chunk * kChunkBytes, values ? &p.v : &p.k, from * kChunkColumns,
                       first_key(item), barrier(item));
    }
    __syncwarp();
  }

  __device__ void wait(int item) const {
    ptx::mbarrier_wait(barrier(item), std::uint32_t(item / kSlots) & 1);
  }
};

/// The queries of a tile, in shared memory, and the thread's fragments of their first columns.
struct Queries {
  std::uint32_t tile;
  std::uint32_t held[kHeldSteps][4];

  __device__ void hold() {
    const int row = group_warp() * 16 + lane() % 16;
#pragma unroll
    for (int i = 0; i < kHeldSteps; ++i) {
      const int vector = i % 4 * 2 + lane() / 16;
      ptx::ldmatrix_x4(
          held[i], tile + i / 4 * kQueryChunkBytes + row * kRowBytes + (vector ^ (row % 8)) * 16);
    }
  }
};

/// s = q k^T, not waited for.
__device__ void multiply_keys(float (&s)[kKeys / 2], const Queries& q, std::uint32_t k) {
  using Product = ptx::Wgmma<__nv_bfloat16, kKeys>;
  ptx::pin_registers(s);
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    const int chunk = i / 4;
    const int step = i % 4 * 2;  // 16 columns are 2 x 16 bytes
    const std::uint64_t keys = ptx::k_major_128b(k + chunk * kChunkBytes) + step;
    if (i < kHeldSteps) {
      Product::rs(s, q.held[i % kHeldSteps], keys, i > 0);
    } else {
      Product::ss(s, ptx::k_major_128b(q.tile + chunk * kQueryChunkBytes) + step, keys, i > 0);
    }
  }
  ptx::wgmma_commit();
}

/// The keys from `first_unseen` on weigh nothing, but their values may be NaN. Before
/// meet_in_group().
__device__ void clear_values(std::byte* values, int first_unseen) {
  constexpr int kRowVectors = kRowBytes / 16;
#pragma unroll 1
  for (int i = first_unseen * kRowVectors + group_thread(); i < kKeys * kRowVectors;
       i += kGroupThreads) {
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      reinterpret_cast<uint4*>(values + chunk * kChunkBytes)[i] = make_uint4(0, 0, 0, 0);
    }
  }
  ptx::fence_async_shared();
}

/// o += weights v, not waited for.
__device__ void add_values(float (&o)[kHeadDim / 2], Weights& weights, std::uint32_t v) {
#pragma unroll
  for (int i = 0; i < kKeys / 16; ++i) ptx::pin_registers(weights[i]);
  ptx::pin_registers(o);
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < kKeys / 16; ++i) {
    const std::uint64_t values = ptx::mn_major_128b(v + i * 16 * kRowBytes, kChunkBytes);
    ptx::Wgmma<__nv_bfloat16, kHeadDim>::rs<1>(o, weights[i], values, 1);
  }
  ptx::wgmma_commit();
}

/// All blocks of one warpgroup, at least one. A turn is the values of a block and the keys of the
/// next.
__device__ void attend(const Params& p, const Ring& ring, const Turns& turns, int blocks,
                       const Queries& queries, const Seen& seen, std::byte* shared, Rows& rows) {
  float s[kKeys / 2];
  Weights weights;
  turns.wait(0);
  int block = 0;
#pragma unroll 1
  do {
    const int keys = 2 * block, values = keys + 1;
    const int first_key = ring.first_key(keys);
    ring.wait(keys);
    multiply_keys(s, queries, ring.slot(keys));
    turns.pass();
    ptx::wgmma_wait<0>();
    ptx::pin_registers(s);
    ptx::pin_registers(rows.o);
    if (first_key + kKeys > seen.most) {
      ring.wait(values);
      std::byte* const cleared = shared + (ring.slot(values) - queries.tile);
      clear_values(cleared, max(seen.most - first_key, 0));
    }
    meet_in_group(ring.group);
    // These keys' slot and that of the values in front of them are free.
#pragma unroll 1
    for (int item = max(keys + 2, kSlots); item < min(keys + 4, 2 * blocks); ++item) {
      ring.load(item);
    }
    if (first_key + kKeys > seen.least) hide_keys(s, seen.own, first_key);
    weigh(s, rows, p.scale);
    pack(s, weights);
    ring.wait(values);
    turns.wait(block + 1);
    add_values(rows.o, weights, ring.slot(values));
  } while (++block < blocks);
  turns.pass();
  ptx::wgmma_wait<0>();
  ptx::pin_registers(rows.o);
  meet_in_group(ring.group);
}

__device__ void start_barriers(std::uint32_t barriers, const Params& p) {
  if (threadIdx.x == 0) {
    for (const CUtensorMap* map : {&p.q, &p.k, &p.v}) ptx::prefetch_tensor_map(map);
#pragma unroll 1
    for (int i = 0; i < kBarriers; ++i) ptx::mbarrier_init(barriers + i * 8, kGroupWarps);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
}

template <bool kQuantizes>
__global__ __launch_bounds__(kGroups* kGroupThreads) void attention_multi_query_kernel(
    const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) std::byte shared[];
  cuda::allow_next();
  const int group = int(threadIdx.x / kGroupThreads);
  const int first_row = int(blockIdx.x) * kTileRows;
  Queries queries{ptx::shared_address(shared), {}};
  const std::uint32_t barriers = queries.tile + kBarriersAt;
  const Turns turns{group, barriers + 8};
  const Ring ring{p, group, queries.tile + kQueryBytes + group * kRingBytes,
                  barriers + (1 + kGroups + group * kSlots) * 8};
  start_barriers(barriers, p);
  cuda::wait_for_previous();

  // The first warpgroup's keys arrive meanwhile: it is the first to multiply.
  if (group == 1 && lane() == 0) {
    ptx::mbarrier_expect(barriers, kQueryChunkBytes);
    ptx::tensor_load(queries.tile + group_warp() * kQueryChunkBytes, &p.q,
                     group_warp() * kChunkColumns, first_row, barriers);
  }
  __syncwarp();
  ring.load(0);
  ring.load(1);
  const Seen seen = keys_seen(p, first_row, first_row + group_warp() * 16 + lane() / 4);
  // A warpgroup has one block at least, whose keys may all be unseen.
  const int tile_blocks = (seen.most + kKeys - 1) / kKeys;
  const int blocks = max((tile_blocks + kGroups - 1 - group) / kGroups, 1);
  if (blocks > 1) ring.load(2);

  Rows rows{{}, {-INFINITY, -INFINITY}, {}};
  ptx::mbarrier_wait(barriers, 0);
  queries.hold();
  attend(p, ring, turns, blocks, queries, seen, shared, rows);
  std::byte* const rings = shared + kQueryBytes;
  merge(rows, rings + group * kRingBytes, rings + (1 - group) * kRingBytes);
  if constexpr (kQuantizes) {
    const Quantized out{p.quantized, p.quantized_scales, p.rows, p.head_bits};
    store_quantized(rows, group, shared, out, first_row, p.rows << p.head_bits);
  } else {
    store(rows, group, shared, p.out + std::size_t(first_row) * kHeadDim,
          (p.rows << p.head_bits) - first_row);
  }
}

}  // namespace
}  // namespace multi_query

bool attention_multi_query_takes(const AttentionParams& p) {
  const auto aligned = [](const void* data) { return std::uintptr_t(data) % 16 == 0; };
  using namespace multi_query;
  const bool gives_quantized =
      !p.quantized || (p.quantized_blocks == kGroups * p.heads && aligned(p.quantized));
  return gives_quantized && p.dtype == DType::kBf16 && p.out_type == DType::kBf16 &&
         p.head_dim == kHeadDim && p.kv_heads == 1 && kTileRows % p.heads == 0 &&
         p.sequences == 1 && p.rows > kTileRows && p.q_stride == p.heads * kHeadDim &&
         p.out_stride == p.heads * kHeadDim && p.kv_stride % 8 == 0 && p.scale > 0 &&
         aligned(p.q) && aligned(p.k) && aligned(p.v) && aligned(p.out);
}

void attention_multi_query(const AttentionParams& p, CUstream_st* stream) {
  using namespace multi_query;
  const int rows = p.rows * p.heads;
  const cuda::MapAxis columns{kHeadDim, 1, kChunkColumns};
  const cuda::MapAxis query_axes[] = {columns, {rows, kHeadDim, kTileRows}};
  const cuda::MapAxis key_axes[] = {columns, {p.kv_rows, p.kv_stride, kKeys}};
  const Params params{
      .q = cuda::make_tensor_map(p.q, p.dtype, query_axes),
      .k = cuda::make_tensor_map(p.k, p.dtype, key_axes),
      .v = cuda::make_tensor_map(p.v, p.dtype, key_axes),
      .visible = p.visible,
      .out = static_cast<__nv_bfloat16*>(p.out),
      .rows = p.rows,
      .head_bits = std::countr_zero(unsigned(p.heads)),
      .kv_rows = p.kv_rows,
      .scale = p.scale * 1.44269504f,  // log2(e)
      .quantized = static_cast<std::uint8_t*>(p.quantized),
      .quantized_scales = p.quantized_scales,
  };
  const cuda::Launch config{.grid = dim3(unsigned((rows + kTileRows - 1) / kTileRows)),
                            .block = dim3(kGroups * kGroupThreads),
                            .shared_bytes = kSharedBytes,
                            .order = cuda::Order::kOverlap};
  cuda::launch(
      p.quantized ? attention_multi_query_kernel<true> : attention_multi_query_kernel<false>,
      config, stream, params);
}

}  // namespace saccade::ops::detail
