// Multi-query attention of many rows: the heads of a few tokens are the 64 rows of a tile, against
// the one head of keys and values.
//
// A CTA has one tile and two warpgroups that take every other block of keys, so that one's softmax
// hides behind the other's matrix products. 576 tokens of 8 heads are 72 CTAs, each bound by its
// tensor cores; the keys split over clusters of two would be 144 CTAs, of which 24 share 12
// multiprocessors and take as long.

#include <cmath>
#include <cstddef>

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/mma.cuh"
#include "cuda/ptx/wgmma.cuh"
#include "cuda/tensor_map.h"
#include "ops/attention/attention.h"
#include "ops/device_elements.cuh"

namespace saccade::ops::detail {
namespace {

namespace ptx = cuda::ptx;

constexpr int kHeadDim = 256;
constexpr int kTileRows = 64;
constexpr int kKeys = 64;  // of a block
constexpr int kGroups = 2;
constexpr int kGroupWarps = 4;
constexpr int kGroupThreads = 32 * kGroupWarps;
constexpr int kSlots = 3;

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
constexpr int kSharedBytes = kBarriersAt + (1 + kGroups * kSlots) * 8;
static_assert(kChunks == kGroupWarps);
static_assert(kSharedBytes <= 227 * 1024);

// Named barriers; those of one warpgroup are kOneGroup + group.
constexpr int kOneGroup = 1;
constexpr int kBothGroups = kOneGroup + kGroups;

// What the warpgroups exchange in the end, as 16-byte vectors of one thread.
constexpr int kHalfValues = kHeadDim / 4;  // accumulators of half the columns
constexpr int kHalfVectors = kHalfValues / 4;
static_assert((kHalfVectors + 1) * kGroupThreads * 16 <= kRingBytes);

struct Params {
  CUtensorMap q;     // [rows heads, head_dim]
  CUtensorMap k, v;  // [kv_rows, head_dim]
  const std::int32_t* visible;
  __nv_bfloat16* out;
  int rows;
  int heads;
  int kv_rows;
  float scale;  // for logits to the base 2
};

/// Every token of the tile sees the first `least` keys, none sees more than `most`.
struct Seen {
  int least;
  int most;
};

__device__ Seen keys_seen(const Params& p, int first_row) {
  if (p.visible == nullptr) return {p.kv_rows, p.kv_rows};
  const int first = first_row / p.heads;
  const int end = min(first + kTileRows / p.heads, p.rows);
  int least = p.kv_rows, most = 0;
  for (int token = first + int(threadIdx.x % 32); token < end; token += 32) {
    const int keys = p.visible[token];
    least = min(least, keys);
    most = max(most, keys);
  }
  return {__reduce_min_sync(~0u, least), __reduce_max_sync(~0u, most)};
}

__device__ int keys_of_row(const Params& p, int row) {
  if (p.visible == nullptr) return p.kv_rows;
  return p.visible[min(row / p.heads, p.rows - 1)];
}

/// The blocks of one warpgroup on their way through its slots: item 2 j is the keys of its j-th
/// block, item 2 j + 1 the values.
struct Ring {
  const Params& p;
  int group;
  int items;
  std::uint32_t slots;
  std::uint32_t barriers;

  __device__ std::uint32_t slot(int item) const { return slots + item % kSlots * kBlockBytes; }
  __device__ std::uint32_t barrier(int item) const { return barriers + item % kSlots * 8; }
  __device__ int first_key(int item) const { return (item / 2 * kGroups + group) * kKeys; }

  __device__ void load(int item) const {
    if (item < items && threadIdx.x % 32 == 0) {
      const int chunk = int(threadIdx.x / 32) % kChunks;
      ptx::mbarrier_expect(barrier(item), kChunkBytes);
      ptx::tensor_load(slot(item) + chunk * kChunkBytes, item % 2 == 0 ? &p.k : &p.v,
                       chunk * kChunkColumns, first_key(item), barrier(item));
    }
    __syncwarp();
  }

  __device__ void wait(int item) const {
    ptx::mbarrier_wait(barrier(item), std::uint32_t(item / kSlots) & 1);
  }

  /// After all of the warpgroup's reads; refills the slot.
  __device__ void release(int item) const {
    ptx::named_barrier(kOneGroup + group, kGroupThreads);
    load(item + kSlots);
  }
};

/// What a thread has of its two rows after some blocks of keys; wgmma.cuh says which rows and
/// columns. Accumulator i belongs to row half(i).
struct Rows {
  float o[kHeadDim / 2];  // not yet divided by the sum
  float largest[2];       // logit to the base 2
  float sum[2];           // of the weights in this thread's columns
};

__device__ constexpr int half(int i) { return i / 2 % 2; }

/// s = q k^T
__device__ void multiply_keys(float (&s)[kKeys / 2], std::uint32_t q, std::uint32_t k) {
  ptx::pin_registers(s);
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < kHeadDim / 16; ++i) {
    const int chunk = i / 4;
    const int step = i % 4 * 2;  // 16 columns are 2 x 16 bytes
    ptx::Wgmma<__nv_bfloat16, kKeys>::ss(s, ptx::k_major_128b(q + chunk * kQueryChunkBytes) + step,
                                         ptx::k_major_128b(k + chunk * kChunkBytes) + step, i > 0);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::pin_registers(s);
}

__device__ void hide_keys(float (&s)[kKeys / 2], const int (&visible)[2], int first_key) {
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    const int key = first_key + i / 4 * 8 + int(threadIdx.x % 4) * 2 + i % 2;
    if (key >= visible[half(i)]) s[i] = -INFINITY;
  }
}

/// Turns logits into weights relative to the largest so far, and scales what is there to it.
__device__ void weigh(float (&s)[kKeys / 2], Rows& rows, float scale) {
  float largest[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) largest[half(i)] = fmaxf(largest[half(i)], s[i]);
  float shift[2], factor[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    largest[h] = fmaxf(largest[h], __shfl_xor_sync(~0u, largest[h], 1));
    largest[h] = fmaxf(largest[h], __shfl_xor_sync(~0u, largest[h], 2));
    largest[h] = fmaxf(rows.largest[h], largest[h] * scale);
    // A row may see no key of this warpgroup's blocks.
    shift[h] = largest[h] == -INFINITY ? 0 : largest[h];
    factor[h] = ptx::exp2_approx(rows.largest[h] - shift[h]);
    rows.largest[h] = largest[h];
    rows.sum[h] *= factor[h];
  }
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    s[i] = ptx::exp2_approx(fmaf(s[i], scale, -shift[half(i)]));
    rows.sum[half(i)] += s[i];
  }
#pragma unroll
  for (int i = 0; i < kHeadDim / 2; ++i) rows.o[i] *= factor[half(i)];
}

/// The keys from `first_unseen` on weigh nothing, but their values may be NaN.
__device__ void clear_values(std::byte* values, int first_unseen, int group) {
  constexpr int kRowVectors = kRowBytes / 16;
  const int thread = int(threadIdx.x) % kGroupThreads;
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    auto* vectors = reinterpret_cast<uint4*>(values + chunk * kChunkBytes);
    for (int i = first_unseen * kRowVectors + thread; i < kKeys * kRowVectors; i += kGroupThreads) {
      vectors[i] = make_uint4(0, 0, 0, 0);
    }
  }
  ptx::fence_async_shared();
  ptx::named_barrier(kOneGroup + group, kGroupThreads);
}

/// o += weights v
__device__ void add_values(float (&o)[kHeadDim / 2], const float (&weights)[kKeys / 2],
                           std::uint32_t v) {
  std::uint32_t packed[kKeys / 16][4];
#pragma unroll
  for (int i = 0; i < kKeys / 4; ++i) {
    packed[i / 4][i % 4] = packed_pair(DType::kBf16, weights[2 * i], weights[2 * i + 1]);
    if (i % 4 == 3) ptx::pin_registers(packed[i / 4]);
  }
  ptx::pin_registers(o);
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < kKeys / 16; ++i) {
    const std::uint64_t values = ptx::mn_major_128b(v + i * 16 * kRowBytes, kChunkBytes);
    ptx::Wgmma<__nv_bfloat16, kHeadDim>::rs<1>(o, packed[i], values, 1);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::pin_registers(o);
}

/// Adds what the other warpgroup has of this one's half of the columns, and divides by the sum.
template <int kGroup>
__device__ void merge(Rows& rows, std::byte* rings) {
  constexpr int kKept = kGroup * kHalfValues;
  constexpr int kSent = kHalfValues - kKept;
  const int thread = int(threadIdx.x) % kGroupThreads;
  auto* sent = reinterpret_cast<float4*>(rings + kGroup * kRingBytes) + thread;
  auto* received = reinterpret_cast<const float4*>(rings + (1 - kGroup) * kRingBytes) + thread;
#pragma unroll
  for (int i = 0; i < kHalfVectors; ++i) {
    const float* o = rows.o + kSent + 4 * i;
    sent[i * kGroupThreads] = make_float4(o[0], o[1], o[2], o[3]);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    rows.sum[h] += __shfl_xor_sync(~0u, rows.sum[h], 1);
    rows.sum[h] += __shfl_xor_sync(~0u, rows.sum[h], 2);
  }
  sent[kHalfVectors * kGroupThreads] =
      make_float4(rows.largest[0], rows.largest[1], rows.sum[0], rows.sum[1]);
  ptx::named_barrier(kBothGroups, kGroups * kGroupThreads);

  const float4 other = received[kHalfVectors * kGroupThreads];
  const float other_largest[2] = {other.x, other.y}, other_sum[2] = {other.z, other.w};
  float here[2], there[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float largest = fmaxf(rows.largest[h], other_largest[h]);
    here[h] = ptx::exp2_approx(rows.largest[h] - largest);
    there[h] = ptx::exp2_approx(other_largest[h] - largest);
    const float sum = rows.sum[h] * here[h] + other_sum[h] * there[h];
    here[h] /= sum;
    there[h] /= sum;
  }
#pragma unroll
  for (int i = 0; i < kHalfVectors; ++i) {
    const float4 x = received[i * kGroupThreads];
    float* o = rows.o + kKept + 4 * i;
    o[0] = o[0] * here[0] + x.x * there[0];
    o[1] = o[1] * here[0] + x.y * there[0];
    o[2] = o[2] * here[1] + x.z * there[1];
    o[3] = o[3] * here[1] + x.w * there[1];
  }
}

/// Writes this warpgroup's half of the columns, turned into whole vectors in shared memory. Vectors
/// are permuted within a row so that the rows of a warp fall on different banks.
template <int kGroup>
__device__ void store(const Params& p, const Rows& rows, std::byte* shared, int first_row) {
  constexpr int kVectors = kHeadDim / 8;
  constexpr int kHalf = kVectors / kGroups;
  const int thread = int(threadIdx.x) % kGroupThreads;
  const auto at = [=](int row, int vector) {
    return shared + (row * kVectors + (vector ^ (row % 8))) * 16;
  };
#pragma unroll
  for (int i = 0; i < kHalfValues / 2; ++i) {
    const int row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8;
    const float* o = rows.o + kGroup * kHalfValues + 2 * i;
    *reinterpret_cast<std::uint32_t*>(at(row, kGroup * kHalf + i / 2) + thread % 4 * 4) =
        packed_pair(DType::kBf16, o[0], o[1]);
  }
  ptx::named_barrier(kOneGroup + kGroup, kGroupThreads);
  for (int i = thread; i < kTileRows * kHalf; i += kGroupThreads) {
    const int row = i / kHalf;
    const int vector = kGroup * kHalf + i % kHalf;
    if (first_row + row >= p.rows * p.heads) break;
    reinterpret_cast<uint4*>(p.out)[std::size_t(first_row + row) * kVectors + vector] =
        *reinterpret_cast<const uint4*>(at(row, vector));
  }
}

/// All blocks of one warpgroup.
__device__ void attend(const Params& p, const Ring& ring, Rows& rows, std::byte* shared, Seen seen,
                       const int (&visible)[2]) {
  const std::uint32_t q = ptx::shared_address(shared);
  for (int item = 0; item < ring.items; item += 2) {
    const int first_key = ring.first_key(item);
    float s[kKeys / 2];
    ring.wait(item);
    multiply_keys(s, q, ring.slot(item));
    ring.release(item);
    if (first_key + kKeys > seen.least) hide_keys(s, visible, first_key);
    weigh(s, rows, p.scale);
    const std::uint32_t values = ring.slot(item + 1);
    ring.wait(item + 1);
    if (item + 2 >= ring.items) {
      clear_values(shared + (values - q), min(seen.most - first_key, kKeys), ring.group);
    }
    add_values(rows.o, s, values);
    ring.release(item + 1);
  }
}

__global__ __launch_bounds__(kGroups* kGroupThreads) void attention_multi_query_kernel(
    const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) std::byte shared[];
  cuda::allow_next();
  const int group = int(threadIdx.x) / kGroupThreads;
  const int warp = int(threadIdx.x) / 32 % kGroupWarps;
  const int first_row = int(blockIdx.x) * kTileRows;
  const std::uint32_t queries = ptx::shared_address(shared);
  const std::uint32_t query_barrier = queries + kBarriersAt;
  if (threadIdx.x == 0) {
    for (const CUtensorMap* map : {&p.q, &p.k, &p.v}) ptx::prefetch_tensor_map(map);
    for (int i = 0; i < 1 + kGroups * kSlots; ++i) {
      ptx::mbarrier_init(query_barrier + i * 8, kGroupWarps);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  cuda::wait_for_previous();

  if (group == 0 && threadIdx.x % 32 == 0) {
    ptx::mbarrier_expect(query_barrier, kQueryChunkBytes);
    ptx::tensor_load(queries + warp * kQueryChunkBytes, &p.q, warp * kChunkColumns, first_row,
                     query_barrier);
  }
  __syncwarp();
  const Seen seen = keys_seen(p, first_row);
  const int blocks = (seen.most + kKeys - 1) / kKeys;
  const Ring ring{p, group, (blocks + kGroups - 1 - group) / kGroups * 2,
                  queries + kQueryBytes + group * kRingBytes,
                  query_barrier + (1 + group * kSlots) * 8};
  for (int item = 0; item < kSlots; ++item) ring.load(item);

  Rows rows{{}, {-INFINITY, -INFINITY}, {}};
  const int row = first_row + warp * 16 + int(threadIdx.x) % 32 / 4;
  const int visible[2] = {keys_of_row(p, row), keys_of_row(p, row + 8)};
  ptx::mbarrier_wait(query_barrier, 0);
  attend(p, ring, rows, shared, seen, visible);
  if (group == 0) {
    merge<0>(rows, shared + kQueryBytes);
    store<0>(p, rows, shared, first_row);
  } else {
    merge<1>(rows, shared + kQueryBytes);
    store<1>(p, rows, shared, first_row);
  }
}

}  // namespace

bool attention_multi_query_takes(const AttentionParams& p) {
  const auto aligned = [](const void* data) { return std::uintptr_t(data) % 16 == 0; };
  return p.dtype == DType::kBf16 && p.head_dim == kHeadDim && p.kv_heads == 1 &&
         kTileRows % p.heads == 0 && p.sequences == 1 && p.rows > kTileRows &&
         p.q_stride == p.heads * kHeadDim && p.out_stride == p.heads * kHeadDim &&
         p.kv_stride % 8 == 0 && p.scale > 0 && aligned(p.q) && aligned(p.k) && aligned(p.v) &&
         aligned(p.out);
}

void attention_multi_query(const AttentionParams& p, CUstream_st* stream) {
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
      .heads = p.heads,
      .kv_rows = p.kv_rows,
      .scale = p.scale * 1.44269504f,  // log2(e)
  };
  const cuda::Launch config{.grid = dim3(unsigned((rows + kTileRows - 1) / kTileRows)),
                            .block = dim3(kGroups * kGroupThreads),
                            .shared_bytes = kSharedBytes,
                            .order = cuda::Order::kOverlap};
  cuda::launch(attention_multi_query_kernel, config, stream, params);
}

}  // namespace saccade::ops::detail
