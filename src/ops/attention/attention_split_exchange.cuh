#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/mma.cuh"
#include "ops/device_elements.cuh"

// How the CTAs of a cluster, each with a share of the keys, make one softmax of their parts. CTA i
// combines 32 columns of all rows: those that warp i of every CTA has computed.
namespace saccade::ops::detail::split_exchange {

namespace ptx = cuda::ptx;

constexpr int kSplit = 8;  // CTAs of a cluster, and warps of a CTA
constexpr int kRows = 32;
constexpr int kThreads = 32 * kSplit;

/// Received weighted sums of values: bf16 pairs of columns, of rows r and r + 8.
using Partials = uint2[kSplit][kThreads];

struct Exchange {
  float2 statistics[kSplit][kRows];  // received: largest logit and sum of weights
  float factors[kSplit][kRows];
  std::uint64_t statistics_full;
  std::uint64_t partials_full;
};

/// By one thread, before the cluster's first barrier.
__device__ inline void open(Exchange& e) {
  const std::uint32_t statistics = ptx::shared_address(&e.statistics_full);
  const std::uint32_t partials = ptx::shared_address(&e.partials_full);
  ptx::mbarrier_init(statistics, 1);
  ptx::mbarrier_init(partials, 1);
  ptx::fence_mbarrier_init();
  ptx::mbarrier_expect(statistics, sizeof(e.statistics));
  ptx::mbarrier_expect(partials, sizeof(Partials));
}

/// Rows row and row + 1, by one thread of each warp that sends them.
__device__ inline void send_statistics(Exchange& e, int rank, int to, int row, float2 first,
                                       float2 second) {
  const std::uint32_t place = ptx::shared_address(&e.statistics[rank][row]);
  ptx::store_async(ptx::remote_address(place, to),
                   ptx::words_of(first.x, first.y, second.x, second.y),
                   ptx::remote_address(ptx::shared_address(&e.statistics_full), to));
}

/// What arrives lies in this CTA's shared memory, which nothing caches: an acquire of the cluster's
/// scope would only drop the L1.
__device__ inline void wait_for_statistics(Exchange& e) {
  ptx::mbarrier_wait(ptx::shared_address(&e.statistics_full), 0);
}

/// A warp's sums, as fragments of 16 rows and 8 columns.
__device__ inline void send_partials(Exchange& e, Partials& partials, int rank, int to,
                                     const float (&sums)[2][4][4]) {
  const int lane = int(threadIdx.x) % 32;
  const auto pair = [&](int m, int n, int lower) {
    return packed_pair(DType::kBf16, sums[m][n][2 * lower], sums[m][n][2 * lower + 1]);
  };
  const std::uint32_t full = ptx::remote_address(ptx::shared_address(&e.partials_full), to);
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int n = 0; n < 4; n += 2) {
      const int place = 2 * (32 * (2 * m + n / 2) + lane);
      const uint4 four =
          make_uint4(pair(m, n, 0), pair(m, n, 1), pair(m, n + 1, 0), pair(m, n + 1, 1));
      ptx::store_async(ptx::remote_address(ptx::shared_address(&partials[rank][place]), to), four,
                       full);
    }
  }
}

/// What each CTA's weights count in the whole softmax, one (CTA, row) per thread.
__device__ inline void make_factors(Exchange& e) {
  const int rank = int(threadIdx.x) / 32;
  const int row = int(threadIdx.x) % 32;
  float maximum = -INFINITY;
#pragma unroll
  for (int i = 0; i < kSplit; ++i) maximum = fmaxf(maximum, e.statistics[i][row].x);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kSplit; ++i) {
    sum += ptx::exp2_approx(e.statistics[i][row].x - maximum) * e.statistics[i][row].y;
  }
  e.factors[rank][row] = __fdividef(ptx::exp2_approx(e.statistics[rank][row].x - maximum), sum);
}

/// Four columns of one row, as a thread stores them.
struct Combined {
  int row;
  int column;  // of the 32
  uint2 values;
};

/// Sums the parts of a pair of columns in two rows, as bf16 or f16; neighbours in a row exchange
/// one of the two.
__device__ inline Combined combine(const Exchange& e, const Partials& partials, DType type) {
  ptx::mbarrier_wait(ptx::shared_address(&e.partials_full), 0);
  const int thread = int(threadIdx.x);
  const int lane = thread / 2 % 32;  // of the warp that sent it
  const int upper = thread / 128 * 16 + lane / 4;
  const int fragment = thread / 64 % 2 * 2 + thread % 2;
  float sum[4]{};
#pragma unroll
  for (int i = 0; i < kSplit; ++i) {
    const uint2 part = partials[i][thread];
    const float2 x = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&part.x));
    const float2 y = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&part.y));
    sum[0] += e.factors[i][upper] * x.x;
    sum[1] += e.factors[i][upper] * x.y;
    sum[2] += e.factors[i][upper + 8] * y.x;
    sum[3] += e.factors[i][upper + 8] * y.y;
  }
  const std::uint32_t of_upper = packed_pair(type, sum[0], sum[1]);
  const std::uint32_t of_lower = packed_pair(type, sum[2], sum[3]);
  const bool keeps_lower = lane % 2 == 1;
  const std::uint32_t other = __shfl_xor_sync(0xffffffff, keeps_lower ? of_upper : of_lower, 2);
  return {keeps_lower ? upper + 8 : upper, 8 * fragment + lane % 4 / 2 * 4,
          keeps_lower ? make_uint2(other, of_lower) : make_uint2(of_upper, other)};
}

}  // namespace saccade::ops::detail::split_exchange
