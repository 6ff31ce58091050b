// Attention on mma.sync, with the softmax kept up to date block by block of keys
// (FlashAttention-2).
//
// The query heads that share a kv head are packed into the rows of a tile, token by token, so a CTA
// reads every key and value once for all of them. A warp owns 16 rows: their logits and sums stay
// in its registers, and the logits' fragments are the next product's operand as they lie. Where
// that leaves a scheduler one warp, two warps own the same rows, each sees every other block of
// keys, and at the end each finishes half of the rows.

#include <bit>

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/mma.cuh"
#include "ops/attention/attention.h"
#include "ops/attention/attention_mma_rows.cuh"

namespace saccade::ops::detail {
namespace mma_rows {
namespace {

/// Division of numbers below 2^31 by one divisor: a multiplication.
struct Divider {
  std::uint32_t factor;  // ceil(2^shift / divisor)
  int shift;

  explicit Divider(std::uint32_t divisor) : shift(31 + std::bit_width(divisor - 1)) {
    factor = std::uint32_t(((std::uint64_t(1) << shift) + divisor - 1) / divisor);
  }

  __device__ int quotient(int dividend) const {
    return int(std::uint64_t(std::uint32_t(dividend)) * factor >> shift);
  }
};

/// With `scale` for logits to the base 2.
struct PackedParams : AttentionParams {
  int group;        // query heads of one kv head
  int packed_rows;  // of one sequence and kv head: token * group + head in the group
  Divider by_group;
};

__device__ int token_of(const PackedParams& p, int packed_row) {
  return p.by_group.quotient(packed_row);
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
#pragma unroll 1
  for (int token = token_of(p, first) + int(threadIdx.x % 32); token <= token_of(p, last);
       token += 32) {
    const int keys = keys_seen(p, token);
    seen = {min(seen.least, keys), max(seen.most, keys)};
  }
  return {__reduce_min_sync(~0u, seen.least), __reduce_max_sync(~0u, seen.most)};
}

/// The row and the chunk where a thread begins to copy. A warp copies whole rows, and its last
/// lanes none where rows do not fill it. Each one is found anew: one kept from the first copies to
/// the last would cost registers that the rows need.
template <typename E>
struct CopyPlace {
  static constexpr int kWarpRows = 32 / E::kTiles;
  static constexpr int kStep = kWarpRows * E::kWarps;  // from a thread's row to its next
  static constexpr int kNone = 1 << 20;

  int chunk;
  int row;

  __device__ CopyPlace() {
    const unsigned thread = unsigned(ptx::opaque(int(threadIdx.x)));
    const int row_of_warp = int(thread % 32) / E::kTiles;
    chunk = int(thread % 32) % E::kTiles;
    row = row_of_warp < kWarpRows ? int(thread / 32) * kWarpRows + row_of_warp : kNone;
  }

  __device__ std::uint32_t offset(int of_row) const {
    return std::uint32_t(of_row * E::kPitch + chunk * kChunkBytes);
  }
};

template <typename E>
__device__ void load_queries(const PackedParams& p, const CopyPlace<E>& place, std::uint32_t tile) {
  const auto* q = static_cast<const std::uint16_t*>(p.q);
#pragma unroll 1
  for (int row = place.row; row < E::kRows; row += CopyPlace<E>::kStep) {
    const int packed_row = int(blockIdx.x) * E::kRows + row;
    const bool is_there = packed_row < p.packed_rows && place.chunk * kChunk < p.head_dim;
    const auto* from = q + offset_of(p, packed_row, p.q_stride) + place.chunk * kChunk;
    ptx::copy_async_16(tile + place.offset(row), is_there ? from : q, is_there ? kChunkBytes : 0);
  }
}

/// Tile 2 i is the keys of stage i, 2 i + 1 their values: one group of copies, to its place in the
/// ring of `tiles`, if there are such keys. Zeros from key `end` on: what lies there may be NaN.
template <typename E>
__device__ void load_tile(const PackedParams& p, const CopyPlace<E>& place, int tile, int end,
                          std::uint32_t tiles) {
  const int begin = tile / 2 * E::kStageKeys;
  if (begin < end) {
    const std::uint32_t to = tiles + tile % E::kTilesHeld * E::kTileBytes;
    const bool is_there = place.chunk * kChunk < p.head_dim;
    const auto* from = static_cast<const std::uint16_t*>(tile % 2 == 0 ? p.k : p.v) +
                       (std::int64_t(blockIdx.z) * p.kv_rows + begin + place.row) * p.kv_stride +
                       int(blockIdx.y) * p.head_dim + place.chunk * kChunk;
#pragma unroll
    for (int i = 0; i < E::kStageKeys; i += CopyPlace<E>::kStep) {
      const int key = i + place.row;
      const bool copied = is_there && begin + key < end;
      if (key < E::kStageKeys) {
        ptx::copy_async_16(to + place.offset(key), from, copied ? kChunkBytes : 0);
      }
      from += CopyPlace<E>::kStep * p.kv_stride;
    }
  }
  ptx::copy_async_commit();
}

/// Writes the rows out in whole chunks, through the shared memory of queries that nobody needs any
/// more.
template <typename T, typename E>
__device__ void store_rows(const PackedParams& p, const Rows<E>& rows, std::uint8_t* queries) {
  constexpr int kOwn = 16 / E::kGroups;
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int first = warp % E::kRowWarps * 16 + warp / E::kRowWarps * kOwn;
  std::uint8_t* const own = queries + first * E::kPitch;
  std::uint8_t* const to = own + lane / 4 * E::kPitch;
  __syncthreads();
  if constexpr (E::kGroups == 2) {
    auto* const exchange = reinterpret_cast<float2*>(queries + E::kRows * E::kPitch);
    divide_row<T>(merged_row(rows, exchange), to);
  } else {
    divide_row<T>(row_of(rows, false), to);
    divide_row<T>(row_of(rows, true), to + 8 * E::kPitch);
  }
  __syncwarp();
  auto* out = static_cast<std::uint16_t*>(p.out);
#pragma unroll 1
  for (int index = lane; index < kOwn * E::kTiles; index += 32) {
    const int row = index / E::kTiles, chunk = index % E::kTiles;
    const int packed_row = int(blockIdx.x) * E::kRows + first + row;
    if (packed_row >= p.packed_rows || chunk * kChunk >= p.head_dim) continue;
    const std::int64_t at = offset_of(p, packed_row, p.out_stride) + chunk * kChunk;
    *reinterpret_cast<uint4*>(out + at) =
        *reinterpret_cast<const uint4*>(own + row * E::kPitch + chunk * kChunkBytes);
  }
}

template <typename E>
__device__ void load_fragments(Rows<E>& rows, std::uint32_t q) {
  if constexpr (E::kHoldsQ) {
#pragma unroll
    for (int step = 0; step < E::kSteps; ++step) {
      ptx::ldmatrix_x4(rows.q[step], q + step * 2 * kChunkBytes);
    }
  }
  if constexpr (E::kOdd) ptx::ldmatrix_x2(rows.last_q, q + E::kSteps * 2 * kChunkBytes);
}

template <typename T, typename E>
__global__ __launch_bounds__(E::kThreads) void attention_mma_kernel(
    const __grid_constant__ PackedParams p) {
  cuda::allow_next();
  extern __shared__ __align__(16) std::uint8_t shared[];
  const std::uint32_t queries = ptx::shared_address(shared);
  const std::uint32_t tiles = queries + E::kRows * E::kPitch;
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 % E::kRowWarps * 16;
  const int group = threadIdx.x / 32 / E::kRowWarps;
  const std::uint32_t q =
      queries + (warp_row + (lane % 16 ^ 8 * group)) * E::kPitch + lane / 16 * kChunkBytes;
  const std::uint32_t v_lane = lane % 16 * E::kPitch + lane / 16 * kChunkBytes;
  const CopyPlace<E> place;

  cuda::wait_for_previous();
  const Seen seen = keys_seen_by_tile<E>(p);
  load_queries<E>(p, place, queries);  // in the first keys' group of copies
#pragma unroll 1
  for (int tile = 0; tile < E::kTilesHeld; ++tile) load_tile<E>(p, place, tile, seen.most, tiles);

  Rows<E> rows;
  for (int half = 0; half < 2; ++half) {
    const int packed_row = int(blockIdx.x) * E::kRows + warp_row + lane / 4 + 8 * (half ^ group);
    // Rows that fill the last tile up see what its last row sees.
    rows.keys[half] = keys_seen(p, token_of(p, min(packed_row, p.packed_rows - 1)));
  }

  ptx::copy_async_wait<E::kTilesHeld - 1>();
  __syncthreads();
  load_fragments(rows, q);
  for (int stage = 0;;) {
    const int begin = stage * E::kStageKeys + group * E::kKeys;
    const std::uint32_t keys =
        tiles + stage % E::kStages * 2 * E::kTileBytes + group * E::kBlockBytes;
    Logits<E> logits = {};
    multiply_keys<T>(rows, q, keys, logits);
    if (begin + E::kKeys > seen.least) mask_unseen(rows, begin, logits);
    softmax_step(rows, p.scale, logits);
    ptx::copy_async_wait<E::kTilesHeld - 2>();
    __syncthreads();  // The values are there.
    add_values<T>(rows, logits, keys + E::kTileBytes + v_lane);
    if (++stage * E::kStageKeys >= seen.most) break;
    ptx::copy_async_wait<E::kTilesHeld - 3>();
    __syncthreads();  // The next keys are there, and nobody needs these tiles any more.
#pragma unroll 1
    for (int i = -2; i < 0; ++i) {
      load_tile<E>(p, {}, 2 * stage + E::kTilesHeld + i, seen.most, tiles);
    }
  }
  store_rows<T>(p, rows, shared);
}

template <typename T, int kTiles, int kRowWarps, int kGroups>
void start(const AttentionParams& p, cudaStream_t stream) {
  using E = Extents<kTiles, kRowWarps, kGroups>;
  const int group = p.heads / p.kv_heads;
  PackedParams packed{p, group, p.rows * group, Divider(std::uint32_t(group))};
  packed.scale *= 1.44269504f;  // log2 e
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
  if (p.head_dim <= 32) return start<T, 4, 4, 1>(p, stream);
  if (p.head_dim <= 64) return start<T, 8, 4, 1>(p, stream);
  if (p.head_dim <= 72) {
    return fills_the_gpu(p) ? start<T, 9, 8, 2>(p, stream) : start<T, 9, 4, 2>(p, stream);
  }
  if (p.head_dim <= 128) return start<T, 16, 4, 1>(p, stream);
  return start<T, 32, 4, 1>(p, stream);
}

}  // namespace
}  // namespace mma_rows

bool attention_mma_takes(const AttentionParams& p) {
  using namespace mma_rows;
  constexpr int kMaxGridExtent = 65535;
  const auto has_chunks = [](const void* first, int stride) {
    return reinterpret_cast<std::uintptr_t>(first) % kChunkBytes == 0 && stride % kChunk == 0;
  };
  return (p.dtype == DType::kBf16 || p.dtype == DType::kF16) && p.out_type == p.dtype &&
         p.head_dim % kChunk == 0 && p.head_dim <= 256 && p.scale > 0 &&
         has_chunks(p.q, p.q_stride) && has_chunks(p.k, p.kv_stride) &&
         has_chunks(p.v, p.kv_stride) && has_chunks(p.out, p.out_stride) && p.rows > 0 &&
         std::int64_t(p.rows) * p.heads < 1 << 30 && p.sequences > 0 &&
         p.sequences <= kMaxGridExtent && p.kv_heads <= kMaxGridExtent;
}

void attention_mma(const AttentionParams& p, CUstream_st* stream) {
  using namespace mma_rows;
  p.dtype == DType::kF16 ? start_for_head_dim<__half>(p, stream)
                         : start_for_head_dim<__nv_bfloat16>(p, stream);
}

}  // namespace saccade::ops::detail
