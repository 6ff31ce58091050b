#pragma once

#include "cuda/ptx/mma.cuh"
#include "ops/device_elements.cuh"

// What a warp of attention_mma.cu computes for its 16 rows, in registers.
namespace saccade::ops::detail::mma_rows {

namespace ptx = cuda::ptx;

constexpr int kChunk = 8;  // elements of a 16-byte copy
constexpr int kChunkBytes = 16;

/// What an instance holds. A head is kTiles_ x 8 wide at most, and is filled up with zeros to that.
/// Stages are as many as fit in the 99 KB that every GPU gives a CTA.
template <int kTiles_, int kRowWarps_, int kGroups_>
struct Extents {
  static constexpr int kTiles = kTiles_;        // of 8 columns, which are chunks
  static constexpr int kSteps = kTiles / 2;     // of 16 columns, in q k^T
  static constexpr bool kOdd = kTiles % 2 > 0;  // a last step of 8
  /// Odd in chunks: the eight rows of an ldmatrix lie in different banks.
  static constexpr int kPitch = (kTiles + !kOdd) * kChunkBytes;
  static constexpr int kRowWarps = kRowWarps_;
  static constexpr int kGroups = kGroups_;  // of warps that share the keys
  static constexpr int kWarps = kRowWarps * kGroups;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = 16 * kRowWarps;
  static constexpr int kKeys = kTiles > 16 ? 32 : 64;  // of a warp's block
  static constexpr int kStageKeys = kGroups * kKeys;
  static constexpr int kStages = kTiles > 9 ? 2 : 4 / kGroups;
  static constexpr int kTilesHeld = 2 * kStages;  // of keys and of values in turn
  static constexpr int kBlockBytes = kKeys * kPitch;
  static constexpr int kTileBytes = kStageKeys * kPitch;
  static constexpr int kSharedBytes = kRows * kPitch + kTilesHeld * kTileBytes;
  static constexpr bool kHoldsQ = kTiles <= 16;  // in registers, next to the sums
  static_assert(kGroups == 1 || (kGroups == 2 && kHoldsQ));
};

/// A thread's share of its warp's 16 rows: fragments of rows lane / 4 (elements 0, 1) and
/// lane / 4 + 8 (elements 2, 3); the other way round in the second group of warps, so that each
/// finishes its first row.
template <typename E>
struct Rows {
  std::uint32_t q[E::kHoldsQ ? E::kSteps : 1][4];
  std::uint32_t last_q[2];        // of the step of 8
  float sums[E::kTiles][4] = {};  // of p v
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {};  // of p, over the columns of this thread
  int keys[2];          // that the row sees
};

template <typename E>
using Logits = float[E::kKeys / 8][4];

/// `q` is this lane's address of the first matrices, `keys` that of the block.
template <typename T, typename E>
__device__ void multiply_keys(Rows<E>& rows, std::uint32_t q, std::uint32_t keys,
                              Logits<E>& logits) {
  const int lane = threadIdx.x % 32;
  const std::uint32_t k =
      keys + (lane / 16 * 8 + lane % 8) * E::kPitch + lane / 8 % 2 * kChunkBytes;
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
  if constexpr (E::kOdd) {
    const std::uint32_t last = keys + lane * E::kPitch + (E::kTiles - 1) * kChunkBytes;
#pragma unroll
    for (int four = 0; four < E::kKeys / 32; ++four) {
      std::uint32_t b[4];
      ptx::ldmatrix_x4(b, last + four * 32 * E::kPitch);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        ptx::mma_m16n8k8(logits[4 * four + i], rows.last_q, b[i], T{});
      }
    }
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

/// Replaces logits by p = 2^(scale logit - largest), and rescales the sums when `largest` grows.
template <typename E>
__device__ void softmax_step(Rows<E>& rows, float scale, Logits<E>& logits) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float logit = -INFINITY;
#pragma unroll
    for (auto& tile : logits) logit = fmaxf(logit, fmaxf(tile[2 * half], tile[2 * half + 1]));
    logit = fmaxf(logit, __shfl_xor_sync(~0u, logit, 1));
    logit = fmaxf(logit, __shfl_xor_sync(~0u, logit, 2));
    const float largest = fmaxf(rows.largest[half], logit * scale);
    // A row that has seen no key of this warp yet has p = 0, not NaN.
    const float shift = largest == -INFINITY ? 0.0f : largest;
    const float shrink = ptx::exp2_approx(rows.largest[half] - shift);
    rows.largest[half] = largest;

    float total = 0;
#pragma unroll
    for (auto& tile : logits) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        total += tile[i] = ptx::exp2_approx(fmaf(tile[i], scale, -shift));
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

/// Without packed_pair's saturation: p is at most 1, and a mean of values no larger than they are.
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

/// A thread's share of one row.
template <typename E>
struct Row {
  float2 sums[E::kTiles];
  float largest;
  float total;
};

template <typename E>
__device__ Row<E> row_of(const Rows<E>& rows, bool second) {
  Row<E> row;
#pragma unroll
  for (int tile = 0; tile < E::kTiles; ++tile) {
    const auto& sums = rows.sums[tile];
    row.sums[tile] = second ? float2{sums[2], sums[3]} : float2{sums[0], sums[1]};
  }
  row.largest = second ? rows.largest[1] : rows.largest[0];
  row.total = second ? rows.total[1] : rows.total[0];
  return row;
}

/// The row that this thread finishes, over the keys of both groups: the other one goes to its
/// partner in the other group. By the whole CTA, once nobody needs `exchange` any more.
template <typename E>
__device__ Row<E> merged_row(const Rows<E>& rows, float2* exchange) {
  const Row<E> given = row_of(rows, true);
  float2* const to = exchange + threadIdx.x;
#pragma unroll
  for (int tile = 0; tile < E::kTiles; ++tile) to[tile * E::kThreads] = given.sums[tile];
  to[E::kTiles * E::kThreads] = {given.largest, given.total};
  __syncthreads();
  Row<E> row = row_of(rows, false);
  const float2* const from = exchange + (threadIdx.x + E::kThreads / 2) % E::kThreads;
  const float2 others = from[E::kTiles * E::kThreads];
  const float largest = fmaxf(row.largest, others.x);
  const float share = ptx::exp2_approx(row.largest - largest);
  const float others_share = ptx::exp2_approx(others.x - largest);
  row.total = row.total * share + others.y * others_share;
#pragma unroll
  for (int tile = 0; tile < E::kTiles; ++tile) {
    const float2 sums = from[tile * E::kThreads];
    row.sums[tile].x = row.sums[tile].x * share + sums.x * others_share;
    row.sums[tile].y = row.sums[tile].y * share + sums.y * others_share;
  }
  return row;
}

/// Divides the sums into a row of shared memory.
template <typename T, typename E>
__device__ void divide_row(const Row<E>& row, std::uint8_t* to) {
  float total = row.total;
  total += __shfl_xor_sync(~0u, total, 1);
  total += __shfl_xor_sync(~0u, total, 2);
  const float inverse = ptx::reciprocal_approx(total);
  auto* const pairs = reinterpret_cast<std::uint32_t*>(to) + threadIdx.x % 4;
#pragma unroll
  for (int tile = 0; tile < E::kTiles; ++tile) {
    pairs[tile * 4] = pair_of(row.sums[tile].x * inverse, row.sums[tile].y * inverse, T{});
  }
}

}  // namespace saccade::ops::detail::mma_rows
