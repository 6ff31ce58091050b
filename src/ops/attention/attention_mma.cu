// Attention on mma.sync, with the softmax kept up to date block by block of keys
// (FlashAttention-2).
//
// The query heads that share a kv head are packed into the rows of a tile, token by token, so a CTA
// reads every key and value once for all of them. A warp owns 16 rows: their logits and sums stay
// in its registers, and the logits' fragments are the next product's operand as they lie.

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/mma.cuh"
#include "ops/attention/attention.h"
#include "ops/device_elements.cuh"

namespace saccade::ops::detail {
namespace {

namespace ptx = cuda::ptx;

constexpr int kChunk = 8;  // elements of a 16-byte copy
constexpr int kChunkBytes = 16;

/// What an instance holds. A head is kTiles_ x 8 wide at most, and is filled up with zeros to the
/// depth of q k^T. Stages are as many as fit in the 99 KB that every GPU gives a CTA.
template <int kTiles_, int kWarps>
struct Extents {
  static constexpr int kTiles = kTiles_;           // of 8 columns, in v and out
  static constexpr int kSteps = (kTiles + 1) / 2;  // of 16 columns, in q k^T
  static constexpr int kChunks = 2 * kSteps;
  /// Odd in chunks: the eight rows of an ldmatrix lie in different banks.
  static constexpr int kPitch = (kChunks + 1) * kChunkBytes;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = 16 * kWarps;
  static constexpr int kKeys = kTiles > 16 ? 32 : 64;
  static constexpr int kStages = kTiles > 9 ? 2 : kWarps > 4 ? 3 : 4;
  static constexpr int kTileBytes = kKeys * kPitch;
  static constexpr int kSharedBytes = kRows * kPitch + kStages * 2 * kTileBytes;
  static constexpr bool kHoldsQ = kTiles <= 16;  // in registers, next to the sums
};

struct PackedParams : AttentionParams {
  int group;        // query heads of one kv head
  int packed_rows;  // of one sequence and kv head: token * group + head in the group
};

__device__ int token_of(const PackedParams& p, int packed_row) {
  return p.group == 1 ? packed_row : packed_row / p.group;
}

/// The offset of a packed row's vector in q or out.
__device__ std::int64_t offset_of(const PackedParams& p, int packed_row, int stride) {
  const int token = token_of(p, packed_row);
  const int head = int(blockIdx.y) * p.group + packed_row - token * p.group;
  return (std::int64_t(blockIdx.z) * p.rows + token) * stride + head * p.head_dim;
}

/// How many keys the rows of a tile see.
struct Seen {
  int least;
  int most;
};

__device__ int keys_seen(const PackedParams& p, int token) {
  return p.visible ? min(p.visible[token], p.kv_rows) : p.kv_rows;
}

/// Found by every warp for itself.
template <typename E>
__device__ Seen keys_seen_by_tile(const PackedParams& p) {
  Seen seen{p.kv_rows, p.kv_rows};
  if (!p.visible) return seen;
  const int first = blockIdx.x * E::kRows;
  const int last = min(first + E::kRows, p.packed_rows) - 1;
  seen.most = 0;
  for (int token = token_of(p, first) + int(threadIdx.x % 32); token <= token_of(p, last);
       token += 32) {
    const int keys = keys_seen(p, token);
    seen = {min(seen.least, keys), max(seen.most, keys)};
  }
  return {__reduce_min_sync(~0u, seen.least), __reduce_max_sync(~0u, seen.most)};
}

/// A chunk of a row to its place in a tile of shared memory; zeros if it is not there.
template <typename E>
__device__ void load_chunk(std::uint32_t tile, int row, int chunk, const std::uint16_t* from,
                           bool is_there) {
  ptx::copy_async_16(tile + row * E::kPitch + chunk * kChunkBytes, from,
                     is_there ? kChunkBytes : 0);
}

template <typename E>
__device__ void load_queries(const PackedParams& p, std::uint32_t tile) {
  const auto* q = static_cast<const std::uint16_t*>(p.q);
#pragma unroll
  for (int index = threadIdx.x; index < E::kRows * E::kChunks; index += E::kThreads) {
    const int row = index / E::kChunks, chunk = index % E::kChunks;
    const int packed_row = int(blockIdx.x) * E::kRows + row;
    const bool is_there = packed_row < p.packed_rows && chunk * kChunk < p.head_dim;
    const auto* from = q + offset_of(p, packed_row, p.q_stride) + chunk * kChunk;
    load_chunk<E>(tile, row, chunk, is_there ? from : q, is_there);
  }
}

/// Keys [begin, begin + kKeys) of k or v, zeros from key `end` on: what lies there may be NaN.
template <typename E>
__device__ void load_keys(const PackedParams& p, const void* matrix, int begin, int end,
                          std::uint32_t tile) {
  const auto* first = static_cast<const std::uint16_t*>(matrix) +
                      std::int64_t(blockIdx.z) * p.kv_rows * p.kv_stride + blockIdx.y * p.head_dim;
#pragma unroll
  for (int index = threadIdx.x; index < E::kKeys * E::kChunks; index += E::kThreads) {
    const int key = index / E::kChunks, chunk = index % E::kChunks;
    const bool is_there = begin + key < end && chunk * kChunk < p.head_dim;
    const auto* from = first + std::int64_t(begin + key) * p.kv_stride + chunk * kChunk;
    load_chunk<E>(tile, key, chunk, is_there ? from : first, is_there);
  }
}

/// Fills a stage with a block of keys and values, if there is such a block.
template <typename E>
__device__ void load_stage(const PackedParams& p, int block, int end, std::uint32_t stages) {
  const std::uint32_t stage = stages + block % E::kStages * 2 * E::kTileBytes;
  const int begin = block * E::kKeys;
  if (begin < end) {
    load_keys<E>(p, p.k, begin, end, stage);
    load_keys<E>(p, p.v, begin, end, stage + E::kTileBytes);
  }
  ptx::copy_async_commit();
}

/// A thread's share of its warp's 16 rows: fragments of rows lane / 4 (elements 0, 1) and
/// lane / 4 + 8 (elements 2, 3).
template <typename E>
struct Rows {
  std::uint32_t q[E::kHoldsQ ? E::kSteps : 1][4];
  float sums[E::kTiles][4] = {};  // of p v
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {};  // of p, over the columns of this thread
  int keys[2];          // that the row sees
};

template <typename E>
using Logits = float[E::kKeys / 8][4];

/// `q` and `k` are this lane's addresses of the first matrices.
template <typename T, typename E>
__device__ void multiply_keys(Rows<E>& rows, std::uint32_t q, std::uint32_t k, Logits<E>& logits) {
#pragma unroll
  for (int step = 0; step < E::kSteps; ++step) {
    auto& a = rows.q[E::kHoldsQ ? step : 0];
    if constexpr (!E::kHoldsQ) ptx::ldmatrix_x4(a, q + step * 2 * kChunkBytes);
#pragma unroll
    for (int pair = 0; pair < E::kKeys / 16; ++pair) {
      std::uint32_t b[4];
      ptx::ldmatrix_x4(b, k + pair * 16 * E::kPitch + step * 2 * kChunkBytes);
      ptx::mma_m16n8k16(logits[2 * pair], a, b[0], b[1], T{});
      ptx::mma_m16n8k16(logits[2 * pair + 1], a, b[2], b[3], T{});
    }
  }
}

/// Logits in powers of two.
template <typename E>
__device__ void scale_logits(float scale, Logits<E>& logits) {
#pragma unroll
  for (auto& tile : logits) {
#pragma unroll
    for (float& logit : tile) logit *= scale;
  }
}

/// Of a block of keys that starts at `begin`.
template <typename E>
__device__ void mask_unseen(const Rows<E>& rows, int begin, Logits<E>& logits) {
  const int column = begin + int(threadIdx.x % 4) * 2;
#pragma unroll
  for (int tile = 0; tile < E::kKeys / 8; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + tile * 8 + i % 2 >= rows.keys[i / 2]) logits[tile][i] = -INFINITY;
    }
  }
}

/// Replaces logits by p = 2^(logit - largest), and rescales the sums when `largest` grows.
template <typename E>
__device__ void softmax_step(Rows<E>& rows, Logits<E>& logits) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = rows.largest[half];
#pragma unroll
    for (auto& tile : logits) largest = fmaxf(largest, fmaxf(tile[2 * half], tile[2 * half + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
    const float shrink = ptx::exp2_approx(rows.largest[half] - largest);
    rows.largest[half] = largest;

    float total = 0;
#pragma unroll
    for (auto& tile : logits) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        total += tile[i] = ptx::exp2_approx(tile[i] - largest);
      }
    }
    rows.total[half] = rows.total[half] * shrink + total;
#pragma unroll
    for (auto& tile : rows.sums) {
      tile[2 * half] *= shrink;
      tile[2 * half + 1] *= shrink;
    }
  }
}

/// Without packed_pair's saturation: p is at most 1.
__device__ std::uint32_t pair_of(float low, float high, __half) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

__device__ std::uint32_t pair_of(float low, float high, __nv_bfloat16) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

template <typename T, typename E>
__device__ void add_values(Rows<E>& rows, const Logits<E>& p, std::uint32_t v) {
#pragma unroll
  for (int step = 0; step < E::kKeys / 16; ++step) {
    const auto& left = p[2 * step];
    const auto& right = p[2 * step + 1];
    const std::uint32_t a[4] = {pair_of(left[0], left[1], T{}), pair_of(left[2], left[3], T{}),
                                pair_of(right[0], right[1], T{}), pair_of(right[2], right[3], T{})};
    const std::uint32_t keys = v + step * 16 * E::kPitch;
#pragma unroll
    for (int tile = 0; tile + 1 < E::kTiles; tile += 2) {
      std::uint32_t b[4];
      ptx::ldmatrix_x4_transposed(b, keys + tile * kChunkBytes);
      ptx::mma_m16n8k16(rows.sums[tile], a, b[0], b[1], T{});
      ptx::mma_m16n8k16(rows.sums[tile + 1], a, b[2], b[3], T{});
    }
    if constexpr (E::kTiles % 2 == 1) {
      std::uint32_t b[2];
      ptx::ldmatrix_x2_transposed(b, keys + (E::kTiles - 1) * kChunkBytes);
      ptx::mma_m16n8k16(rows.sums[E::kTiles - 1], a, b[0], b[1], T{});
    }
  }
}

/// Divides the sums and writes them out in whole chunks, through the shared memory of the warp's
/// own queries, which nobody needs any more.
template <typename E>
__device__ void store_rows(const PackedParams& p, const Rows<E>& rows, std::uint8_t* queries) {
  const int lane = threadIdx.x % 32;
  const int first = threadIdx.x / 32 * 16;
  std::uint8_t* const own = queries + first * E::kPitch;
  __syncwarp();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float total = rows.total[half];
    total += __shfl_xor_sync(~0u, total, 1);
    total += __shfl_xor_sync(~0u, total, 2);
    const float inverse = 1.0f / total;
    auto* to = reinterpret_cast<std::uint32_t*>(own + (lane / 4 + 8 * half) * E::kPitch) + lane % 4;
#pragma unroll
    for (int tile = 0; tile < E::kTiles; ++tile) {
      const auto& sums = rows.sums[tile];
      to[tile * 4] = packed_pair(p.dtype, sums[2 * half] * inverse, sums[2 * half + 1] * inverse);
    }
  }
  __syncwarp();
  auto* out = static_cast<std::uint16_t*>(p.out);
  for (int index = lane; index < 16 * E::kTiles; index += 32) {
    const int row = index / E::kTiles, chunk = index % E::kTiles;
    const int packed_row = int(blockIdx.x) * E::kRows + first + row;
    if (packed_row >= p.packed_rows || chunk * kChunk >= p.head_dim) continue;
    const std::int64_t to = offset_of(p, packed_row, p.out_stride) + chunk * kChunk;
    *reinterpret_cast<uint4*>(out + to) =
        *reinterpret_cast<const uint4*>(own + row * E::kPitch + chunk * kChunkBytes);
  }
}

template <typename T, typename E>
__global__ __launch_bounds__(E::kThreads) void attention_mma_kernel(
    const __grid_constant__ PackedParams p) {
  cuda::allow_next();
  extern __shared__ __align__(16) std::uint8_t shared[];
  const std::uint32_t queries = ptx::shared_address(shared);
  const std::uint32_t stages = queries + E::kRows * E::kPitch;
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 * 16;
  const std::uint32_t q = queries + (warp_row + lane % 16) * E::kPitch + lane / 16 * kChunkBytes;
  const std::uint32_t k_lane = (lane / 16 * 8 + lane % 8) * E::kPitch + lane / 8 % 2 * kChunkBytes;
  const std::uint32_t v_lane = lane % 16 * E::kPitch + lane / 16 * kChunkBytes;
  const float scale = p.scale * 1.44269504f;  // log2 e

  cuda::wait_for_previous();
  const Seen seen = keys_seen_by_tile<E>(p);
  load_queries<E>(p, queries);
  for (int block = 0; block < E::kStages; ++block) load_stage<E>(p, block, seen.most, stages);

  Rows<E> rows;
  for (int half = 0; half < 2; ++half) {
    const int packed_row = int(blockIdx.x) * E::kRows + warp_row + lane / 4 + 8 * half;
    // Rows that fill the last tile up see what its last row sees.
    rows.keys[half] = keys_seen(p, token_of(p, min(packed_row, p.packed_rows - 1)));
  }

  if constexpr (E::kHoldsQ) {
    ptx::copy_async_wait<E::kStages - 1>();
    __syncthreads();
#pragma unroll
    for (int step = 0; step < E::kSteps; ++step) {
      ptx::ldmatrix_x4(rows.q[step], q + step * 2 * kChunkBytes);
    }
  }
  const int blocks = (seen.most + E::kKeys - 1) / E::kKeys;
  for (int block = 0; block < blocks; ++block) {
    ptx::copy_async_wait<E::kStages - 1>();
    __syncthreads();
    const std::uint32_t stage = stages + block % E::kStages * 2 * E::kTileBytes;
    Logits<E> logits = {};
    multiply_keys<T>(rows, q, stage + k_lane, logits);
    scale_logits<E>(scale, logits);
    if ((block + 1) * E::kKeys > seen.least) mask_unseen(rows, block * E::kKeys, logits);
    softmax_step(rows, logits);
    add_values<T>(rows, logits, stage + E::kTileBytes + v_lane);
    if (block + E::kStages < blocks) __syncthreads();
    load_stage<E>(p, block + E::kStages, seen.most, stages);
  }
  store_rows(p, rows, shared);
}

template <typename T, int kTiles, int kWarps>
void start(const AttentionParams& p, cudaStream_t stream) {
  using E = Extents<kTiles, kWarps>;
  const int group = p.heads / p.kv_heads;
  const PackedParams packed{p, group, p.rows * group};
  const int tiles = (packed.packed_rows + E::kRows - 1) / E::kRows;
  cuda::launch(attention_mma_kernel<T, E>,
               {.grid = dim3(unsigned(tiles), unsigned(p.kv_heads), unsigned(p.sequences)),
                .block = dim3(E::kThreads),
                .shared_bytes = E::kSharedBytes,
                .order = cuda::Order::kOverlap},
               stream, packed);
}

/// Whether tiles of 64 rows are more than one for each multiprocessor. Two on one take as long as
/// a tile of 128 rows does, and read the keys twice.
bool fills_the_gpu(const AttentionParams& p) {
  int device = 0, processors = 0;
  SACCADE_CUDA_CHECK(cudaGetDevice(&device));
  SACCADE_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  return std::int64_t(p.sequences) * p.rows * p.heads > std::int64_t(processors) * 64;
}

template <typename T>
void start_for_head_dim(const AttentionParams& p, cudaStream_t stream) {
  if (p.head_dim <= 32) return start<T, 4, 4>(p, stream);
  if (p.head_dim <= 64) return start<T, 8, 4>(p, stream);
  if (p.head_dim <= 72) {
    return fills_the_gpu(p) ? start<T, 9, 8>(p, stream) : start<T, 9, 4>(p, stream);
  }
  if (p.head_dim <= 128) return start<T, 16, 4>(p, stream);
  return start<T, 32, 4>(p, stream);
}

}  // namespace

bool attention_mma_takes(const AttentionParams& p) {
  constexpr int kMaxGridExtent = 65535;
  const auto has_chunks = [](const void* first, int stride) {
    return reinterpret_cast<std::uintptr_t>(first) % kChunkBytes == 0 && stride % kChunk == 0;
  };
  return (p.dtype == DType::kBf16 || p.dtype == DType::kF16) && p.head_dim % kChunk == 0 &&
         p.head_dim <= 256 && has_chunks(p.q, p.q_stride) && has_chunks(p.k, p.kv_stride) &&
         has_chunks(p.v, p.kv_stride) && has_chunks(p.out, p.out_stride) && p.rows > 0 &&
         std::int64_t(p.rows) * p.heads < 1 << 30 && p.sequences > 0 &&
         p.sequences <= kMaxGridExtent && p.kv_heads <= kMaxGridExtent;
}

void attention_mma(const AttentionParams& p, CUstream_st* stream) {
  p.dtype == DType::kF16 ? start_for_head_dim<__half>(p, stream)
                         : start_for_head_dim<__nv_bfloat16>(p, stream);
}

}  // namespace saccade::ops::detail
