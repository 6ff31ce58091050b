#pragma once

#include <cmath>
#include <cstddef>

#include "cuda/ptx/convert.cuh"
#include "cuda/ptx/mma.cuh"
#include "ops/device_elements.cuh"
#include "ops/quantize/quantize.cuh"

// What a thread of attention_multi_query_sm90.cu computes for its two rows, in registers.
namespace saccade::ops::detail::multi_query {

namespace ptx = cuda::ptx;

constexpr int kHeadDim = 256;
constexpr int kTileRows = 64;
constexpr int kKeys = 64;  // of a block
constexpr int kGroups = 2;
constexpr int kGroupWarps = 4;
constexpr int kGroupThreads = 32 * kGroupWarps;

// What the warpgroups exchange in the end, as 16-byte vectors of one thread.
constexpr int kHalfValues = kHeadDim / 4;  // accumulators of half the columns
constexpr int kHalfVectors = kHalfValues / 4;
constexpr int kExchangedBytes = (kHalfVectors + 1) * kGroupThreads * 16;

__device__ inline int group_thread() { return int(threadIdx.x % kGroupThreads); }
__device__ inline int lane() { return int(threadIdx.x % 32); }
__device__ inline int group_warp() { return int(threadIdx.x / 32 % kGroupWarps); }

/// What a thread has of its two rows after some blocks of keys; wgmma.cuh says which rows and
/// columns. Accumulator i belongs to row half(i).
struct Rows {
  float o[kHeadDim / 2];  // not yet divided by the sum
  float largest[2];       // logit to the base 2
  float sum[2];           // of the weights in this thread's columns
};

__device__ constexpr int half(int i) { return i / 2 % 2; }

__device__ inline void hide_keys(float (&s)[kKeys / 2], const int (&visible)[2], int first_key) {
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    const int key = first_key + i / 4 * 8 + lane() % 4 * 2 + i % 2;
    if (key >= visible[half(i)]) s[i] = -INFINITY;
  }
}

/// Turns logits into weights relative to the largest so far, and scales what is there to it.
__device__ inline void weigh(float (&s)[kKeys / 2], Rows& rows, float scale) {
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
  if (!__any_sync(~0u, factor[0] != 1 || factor[1] != 1)) return;
#pragma unroll
  for (int i = 0; i < kHeadDim / 2; ++i) rows.o[i] *= factor[half(i)];
}

using Weights = std::uint32_t[kKeys / 16][4];

__device__ inline void pack(const float (&s)[kKeys / 2], Weights& weights) {
#pragma unroll
  for (int i = 0; i < kKeys / 4; ++i) {
    weights[i / 4][i % 4] = packed_pair(DType::kBf16, s[2 * i], s[2 * i + 1]);
  }
}

/// Adds what the other warpgroup has of this one's half of the columns, which are the first of both
/// Rows and the last of the other's, and divides by the sum. `given` is shared memory of this
/// warpgroup, `others` the other's.
__device__ inline void merge(Rows& rows, std::byte* given, const std::byte* others) {
  auto* sent = reinterpret_cast<float4*>(given) + group_thread();
  auto* received = reinterpret_cast<const float4*>(others) + group_thread();
#pragma unroll
  for (int i = 0; i < kHalfVectors; ++i) {
    const float* o = rows.o + kHalfValues + 4 * i;
    sent[i * kGroupThreads] = make_float4(o[0], o[1], o[2], o[3]);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    rows.sum[h] += __shfl_xor_sync(~0u, rows.sum[h], 1);
    rows.sum[h] += __shfl_xor_sync(~0u, rows.sum[h], 2);
  }
  sent[kHalfVectors * kGroupThreads] =
      make_float4(rows.largest[0], rows.largest[1], rows.sum[0], rows.sum[1]);
  __syncthreads();

  const float4 other = received[kHalfVectors * kGroupThreads];
  const float other_largest[2] = {other.x, other.y}, other_sum[2] = {other.z, other.w};
  float here[2], there[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float largest = fmaxf(rows.largest[h], other_largest[h]);
    here[h] = ptx::exp2_approx(rows.largest[h] - largest);
    there[h] = ptx::exp2_approx(other_largest[h] - largest);
    const float share = ptx::reciprocal_approx(rows.sum[h] * here[h] + other_sum[h] * there[h]);
    here[h] *= share;
    there[h] *= share;
  }
#pragma unroll
  for (int i = 0; i < kHalfVectors; ++i) {
    const float4 x = received[i * kGroupThreads];
    float* o = rows.o + 4 * i;
    o[0] = o[0] * here[0] + x.x * there[0];
    o[1] = o[1] * here[0] + x.y * there[0];
    o[2] = o[2] * here[1] + x.z * there[1];
    o[3] = o[3] * here[1] + x.w * there[1];
  }
}

/// Writes this warpgroup's half of the columns of a tile's first `count` rows, turned by each warp
/// into whole vectors in shared memory. There, vector v of row r lies at v ^ (r % 8), so that the
/// rows of a warp fall on different banks.
__device__ inline void store(const Rows& rows, int group, std::byte* tile, __nv_bfloat16* out,
                             int count) {
  constexpr int kVectors = kHeadDim / 8;
  constexpr int kHalf = kVectors / kGroups;
  constexpr int kBytes = kVectors * 16;  // of a row
  const int warp_row = group_warp() * 16;
  std::byte* const half_rows = tile + warp_row * kBytes + group * kHalf * 16;
  const int own = lane() / 4 * kBytes + lane() / 4 * 16 + lane() % 4 * 4;
#pragma unroll
  for (int i = 0; i < kHalfValues / 2; ++i) {
    *reinterpret_cast<std::uint32_t*>(half_rows + (own ^ i / 2 * 16) + i % 2 * 8 * kBytes) =
        packed_pair(DType::kBf16, rows.o[2 * i], rows.o[2 * i + 1]);
  }
  __syncwarp();
  const int second = lane() / kHalf;  // A warp writes two rows at a time.
  const int vector = lane() % kHalf;
  const std::byte* const from = half_rows + second * kBytes;
  auto* to =
      reinterpret_cast<uint4*>(out) + (warp_row + second) * kVectors + group * kHalf + vector;
#pragma unroll
  for (int i = 0; i < 16; i += 2) {
    const int at = i * kBytes + ((vector ^ second) * 16 ^ i % 8 * 16);
    if (warp_row + i + second < count) {
      to[i * kVectors] = *reinterpret_cast<const uint4*>(from + at);
    }
  }
}

/// Where a tile goes in e4m3: its rows are heads of tokens, a warpgroup's half of their columns is
/// a block of scales.
struct Quantized {
  std::uint8_t* values;  // [tokens, heads kHeadDim]
  float* scales;         // [heads kGroups, tokens]
  int tokens;
  int head_bits;

  __device__ float* scale(int row, int group) const {
    const int head = row & (1 << head_bits) - 1;
    return scales + std::int64_t(head * kGroups + group) * tokens + (row >> head_bits);
  }
};

/// The scales of a thread's rows, the first of which is `row` of `end`, and what to multiply by
/// instead of dividing by them.
__device__ inline void scale_rows(const Rows& rows, int group, const Quantized& out, int row,
                                  int end, float (&inverse)[2]) {
  float largest[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < kHalfValues; ++i) {
    largest[half(i)] = larger_magnitude(largest[half(i)], rows.o[i]);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float scale = scale_of(largest_of_lanes<4>(largest[h]));
    inverse[h] = ptx::reciprocal_approx(scale);
    if (lane() % 4 == h && row + 8 * h < end) *out.scale(row + 8 * h, group) = scale;
  }
}

/// What store() does, in e4m3, for the tile from `first_row` on of `end` rows. A lane has a pair of
/// each eight columns; two of its pairs are a word in shared memory, and four lanes' words are the
/// bytes of a vector in another order. The rows of a warp lie by themselves there.
__device__ inline void store_quantized(const Rows& rows, int group, std::byte* tile,
                                       const Quantized& out, int first_row, int end) {
  constexpr int kBytes = kHeadDim / kGroups;  // of a row
  constexpr int kVectors = kBytes / 16;
  const int warp_row = first_row + group_warp() * 16;
  float inverse[2];
  scale_rows(rows, group, out, warp_row + lane() / 4, end, inverse);
  std::byte* const warp_rows = tile + (group * kGroupWarps + group_warp()) * 16 * kBytes;
  const int own = lane() / 4 * kBytes + lane() / 4 * 16 + lane() % 4 * 4;
#pragma unroll
  for (int i = 0; i < kHalfValues; i += 8) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float* o = rows.o + i + 2 * h;
      const std::uint32_t word = ptx::e4m3_pair(o[0] * inverse[h], o[1] * inverse[h]) |
                                 ptx::e4m3_pair(o[4] * inverse[h], o[5] * inverse[h]) << 16;
      *reinterpret_cast<std::uint32_t*>(warp_rows + (own ^ i / 8 * 16) + h * 8 * kBytes) = word;
    }
  }
  __syncwarp();
  const int vector = lane() % kVectors;
#pragma unroll
  for (int i = 0; i < 16; i += 32 / kVectors) {
    const int row = i + lane() / kVectors;
    const auto words =
        *reinterpret_cast<const uint4*>(warp_rows + row * kBytes + (vector ^ row % 8) * 16);
    if (warp_row + row >= end) continue;
    auto* to = out.values + std::int64_t(warp_row + row) * kHeadDim + group * kBytes + vector * 16;
    constexpr int kLow = 0x5410, kHigh = 0x7632;  // halves of two words
    *reinterpret_cast<uint4*>(to) =
        make_uint4(__byte_perm(words.x, words.y, kLow), __byte_perm(words.z, words.w, kLow),
                   __byte_perm(words.x, words.y, kHigh), __byte_perm(words.z, words.w, kHigh));
  }
}

}  // namespace saccade::ops::detail::multi_query
