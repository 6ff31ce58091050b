// Multi-query attention of a few tokens against a long cache, where latency is all.
//
// Tiles of 4 tokens x 8 heads = 32 rows, times the keys split over a cluster of 8, are 104 CTAs for
// 50 tokens: K and V cross L2 13 times (7.6 MB; 16-row tiles would read twice as much) and a CTA's
// two products take about 0.6 us of mma.sync. A CTA's keys wait in registers, as fragments of the
// first product, and its values in shared memory, both from before the previous kernel's end, so
// that 73 KB and half of the registers leave room for the neighbours in the chain. Partial sums
// cross the cluster as bf16, 16 KB a CTA: distributed shared memory moves 10 bytes a clock.

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/mma.cuh"
#include "ops/attention/attention.h"
#include "ops/attention/attention_split_exchange.cuh"
#include "ops/attention/attention_split_share.cuh"

namespace saccade::ops::detail {
namespace {

using namespace split_exchange;
using namespace split_share;
using bf16 = __nv_bfloat16;

constexpr int kHeads = 8;
constexpr int kHeadDim = 256;
constexpr int kMaxTokens = 64;
constexpr int kTokens = 4;
constexpr int kWarps = kThreads / 32;
constexpr int kTileDealers = 4;  // pairs of warps, each of which takes every fourth tile
constexpr int kRowBytes = 2 * kHeadDim;
constexpr int kBlocks = kHeadDim / 2 / 32;  // of 32 columns, in one warp's half of the columns
static_assert(kRows == kTokens * kHeads && kWarps == kHeads && kWarps == kTileKeys);

/// What a CTA keeps in shared memory, in front of its values. kTiles: of keys, for each warp.
template <int kTiles>
struct alignas(128) Shared {
  // An odd multiple of 16 bytes: ldmatrix reads eight rows without bank conflicts.
  static constexpr int kWeightPitch = kTileDealers * kTiles * kTileKeys + 8;

  union {
    unsigned char queries[kRows][kRowBytes];  // blocks of 64 bytes swapped in odd rows
    Partials partials;
  };
  union {
    float4 dots[kWarps][kTiles][32];  // what the other warp of a pair finishes
    bf16 weights[kRows][kWeightPitch];
  };
  float maxima[kTileDealers][kRows];
  float sums[kTileDealers][kRows];
  Exchange exchange;
};

/// Where a thread stands. A warp multiplies half of the columns and finishes half of the rows: row
/// and row + 8, of two tokens.
struct Place {
  int lane = threadIdx.x % 32;
  int warp = threadIdx.x / 32;
  int half = warp % 2;
  int dealer = warp / 2;
  int row = 16 * half + lane / 4;
  int column = 2 * (lane % 4);

  __device__ int tile(int i) const { return dealer + kTileDealers * i; }
};

/// Of key lane / 4 of a tile, in each block of the warp's half, columns 8 (lane % 4) ... + 7: the
/// first k-step of a block takes the first four of them, of keys and queries alike.
__device__ void load_keys(const AttentionParams& p, const Place& at, int first, int last,
                          uint4 (&keys)[kBlocks]) {
  const auto* key =
      static_cast<const bf16*>(p.k) + std::int64_t(min(first + at.lane / 4, last)) * p.kv_stride;
  const auto* from = reinterpret_cast<const uint4*>(key) + at.half * 4 * kBlocks + at.lane % 4;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) keys[b] = from[4 * b];
}

/// Value i of a share, by one warp; zeros behind its end, where the cache may hold anything.
__device__ void copy_value(const AttentionParams& p, const Place& at, Keys from, int i, int last,
                           std::uint32_t values, int slot) {
  const auto* value =
      static_cast<const bf16*>(p.v) + std::int64_t(min(from.first + i, last)) * p.kv_stride;
  ptx::copy_async_16(values + slot * kRowBytes + 16 * (at.lane ^ (slot % 8)), value + 8 * at.lane,
                     i < from.count ? 16 : 0);
}

/// A head of each token, by one warp.
__device__ void copy_queries(const AttentionParams& p, const Place& at, int first_token,
                             std::uint32_t queries) {
  for (int i = 0; i < kTokens; ++i) {
    const int token = first_token + i;
    const auto* query = static_cast<const bf16*>(p.q) +
                        std::int64_t(min(token, p.rows - 1)) * p.q_stride + at.warp * kHeadDim;
    const int row = kHeads * i + at.warp;
    ptx::copy_async_16(queries + row * kRowBytes + 16 * (at.lane ^ (row % 2 * 4)),
                       query + 8 * at.lane, token < p.rows ? 16 : 0);
  }
}

/// Adds 16 rows of queries, block b of the warp's half of the columns, times the warp's tiles.
template <int kTiles>
__device__ void add_products(const Place& at, const unsigned char* queries, int b,
                             const uint4 (&keys)[kTiles][kBlocks], int tiles,
                             float (&dots)[kTiles][4]) {
  // Odd rows are swapped, so that a quarter of a warp reads all banks.
  const int block = (at.half * kBlocks + b) ^ (at.lane / 4 % 2);
  const unsigned char* row = queries + at.lane / 4 * kRowBytes + 64 * block + 16 * (at.lane % 4);
  const auto upper = *reinterpret_cast<const uint4*>(row);
  const auto lower = *reinterpret_cast<const uint4*>(row + 8 * kRowBytes);
  const std::uint32_t a0[4] = {upper.x, lower.x, upper.y, lower.y};
  const std::uint32_t a1[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    if (i < tiles) ptx::mma_m16n8k16(dots[i], a0, keys[i][b].x, keys[i][b].y, bf16{});
  }
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    if (i < tiles) ptx::mma_m16n8k16(dots[i], a1, keys[i][b].z, keys[i][b].w, bf16{});
  }
}

/// Queries times the tiles of keys that a pair of warps has: each warp multiplies one half of the
/// columns, then adds up one half of the rows.
template <int kTiles>
__device__ void dot_products(const Place& at, Shared<kTiles>& s,
                             const uint4 (&keys)[kTiles][kBlocks], int tiles,
                             float (&dots)[kTiles][4]) {
  float given[kTiles][4]{};
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    add_products(at, s.queries[16 * (1 - at.half)], b, keys, tiles, given);
    add_products(at, s.queries[16 * at.half], b, keys, tiles, dots);
  }
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    s.dots[at.warp][i][at.lane] = make_float4(given[i][0], given[i][1], given[i][2], given[i][3]);
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    const float4 taken = s.dots[at.warp ^ 1][i][at.lane];
    dots[i][0] += taken.x;
    dots[i][1] += taken.y;
    dots[i][2] += taken.z;
    dots[i][3] += taken.w;
  }
}

/// Dot products to logits in units of log 2, -inf for keys that a row does not see.
template <int kTiles>
__device__ void mask(const Place& at, const Share& share, const int (&visible)[2], float scale,
                     float (&x)[kTiles][4]) {
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    const int behind_old = at.tile(i) - share.old_tiles();
    const Keys keys = behind_old < 0 ? share.old : share.own;
    const int first = keys.first + (behind_old < 0 ? at.tile(i) * kTileKeys : 0);
    const int end = behind_old <= 0 ? keys.first + keys.count : 0;
    for (int e = 0; e < 4; ++e) {
      const bool is_seen = first + at.column + e % 2 < min(end, visible[e / 2]);
      x[i][e] = is_seen ? x[i][e] * scale : -INFINITY;
    }
  }
}

__device__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}

__device__ float quad_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

/// The largest logit of a row in this CTA; -inf if the row sees none of its keys.
template <int kTiles>
__device__ float row_maximum(const Shared<kTiles>& s, int row) {
  return fmaxf(fmaxf(s.maxima[0][row], s.maxima[1][row]),
               fmaxf(s.maxima[2][row], s.maxima[3][row]));
}

/// Weights relative to the CTA's largest logit, and what the warps know of maxima and sums.
template <int kTiles>
__device__ void softmax(const Place& at, Shared<kTiles>& s, const float (&x)[kTiles][4]) {
#pragma unroll
  for (int lower = 0; lower < 2; ++lower) {
    float maximum = -INFINITY;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      maximum = fmaxf(maximum, fmaxf(x[i][2 * lower], x[i][2 * lower + 1]));
    }
    maximum = quad_max(maximum);
    if (at.column == 0) s.maxima[at.dealer][at.row + 8 * lower] = maximum;
  }
  __syncthreads();
#pragma unroll
  for (int lower = 0; lower < 2; ++lower) {
    const int row = at.row + 8 * lower;
    const float base = fmaxf(row_maximum(s, row), -FLT_MAX);  // finite: -inf stays -inf
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const float w0 = ptx::exp2_approx(x[i][2 * lower] - base);
      const float w1 = ptx::exp2_approx(x[i][2 * lower + 1] - base);
      sum += w0 + w1;
      const int slot = at.tile(i) * kTileKeys + at.column;
      *reinterpret_cast<__nv_bfloat162*>(&s.weights[row][slot]) = __floats2bfloat162_rn(w0, w1);
    }
    sum = quad_sum(sum);
    if (at.column == 0) s.sums[at.dealer][row] = sum;
  }
}

/// Warp i tells CTA i.
template <int kTiles>
__device__ void tell_statistics(const Place& at, Shared<kTiles>& s, int rank) {
  const auto statistics = [&](int row) {
    return make_float2(row_maximum(s, row),
                       s.sums[0][row] + s.sums[1][row] + (s.sums[2][row] + s.sums[3][row]));
  };
  const int row = 2 * at.lane;
  if (row >= kRows) return;
  send_statistics(s.exchange, rank, at.warp, row, statistics(row), statistics(row + 1));
}

/// All rows, 32 columns of each warp: fragments of 16 rows, 8 columns.
template <int kTiles>
__device__ void weigh_values(const Place& at, const Shared<kTiles>& s, std::uint32_t values,
                             int old_tiles, float (&sums)[2][4][4]) {
  constexpr int kPitchBytes = 2 * Shared<kTiles>::kWeightPitch;
  const std::uint32_t weights =
      ptx::shared_address(&s.weights[at.lane % 16][at.lane / 16 * kTileKeys]);
  const int row = at.lane % 8;
  const int chunk = 4 * at.warp + at.lane / 16;  // of 8 columns
  for (int tile = 0; tile <= old_tiles; tile += 2) {
    std::uint32_t a[2][4];
    std::uint32_t b[2][4];
    // Where the second tile of a pair does not exist, weights of zero meet the last one's values.
    const int slot = min(tile + at.lane / 8 % 2, old_tiles) * kTileKeys + row;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      ptx::ldmatrix_x4(a[i], weights + 16 * i * kPitchBytes + 2 * tile * kTileKeys);
      ptx::ldmatrix_x4_transposed(b[i], values + slot * kRowBytes + 16 * ((chunk + 2 * i) ^ row));
    }
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      for (int n = 0; n < 4; ++n) {
        ptx::mma_m16n8k16(sums[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1], bf16{});
      }
    }
  }
}

__device__ void store(const AttentionParams& p, int first_token, int rank, const Combined& x) {
  const int token = first_token + x.row / kHeads;
  if (token >= p.rows) return;
  auto* out = static_cast<std::uint16_t*>(p.out) + std::int64_t(token) * p.out_stride +
              x.row % kHeads * kHeadDim + 32 * rank + x.column;
  *reinterpret_cast<uint2*>(out) = x.values;
}

/// kResident: CTAs that a multiprocessor has registers for.
template <int kTiles, int kResident>
__global__ void __launch_bounds__(kThreads, kResident) __cluster_dims__(kSplit)
    attention_split_kernel(const __grid_constant__ AttentionParams p) {
  cuda::allow_next();
  extern __shared__ __align__(128) unsigned char storage[];
  auto& s = *reinterpret_cast<Shared<kTiles>*>(storage);
  const std::uint32_t values = ptx::shared_address(storage + sizeof(s));
  if (threadIdx.x == 0) open(s.exchange);
  ptx::cluster_arrive_relaxed();

  const Place at;
  const int rank = int(ptx::cluster_rank());
  const int first_token = int(blockIdx.x) / kSplit * kTokens;
  const Share share = make_share(p, rank);
  const int old_tiles = share.old_tiles();
  uint4 keys[kTiles][kBlocks]{};
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    const int first = share.old.first + at.tile(i) * kTileKeys;
    if (at.tile(i) < old_tiles) load_keys(p, at, first, share.last, keys[i]);
  }
  for (int i = at.warp; i < old_tiles * kTileKeys; i += kWarps) {
    copy_value(p, at, share.old, i, share.last, values, i);
  }
  ptx::copy_async_commit();
  const int visible[2] = {visible_keys(p, first_token + 2 * at.half),
                          visible_keys(p, first_token + 2 * at.half + 1)};
  cuda::wait_for_previous();

  copy_queries(p, at, first_token, ptx::shared_address(s.queries));
  ptx::copy_async_commit();
  copy_value(p, at, share.own, at.warp, share.last, values, old_tiles * kTileKeys + at.warp);
  ptx::copy_async_commit();
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    if (at.tile(i) == old_tiles) load_keys(p, at, share.own.first, share.last, keys[i]);
  }
  ptx::cluster_wait();  // for open exchanges; hidden behind the copies
  ptx::copy_async_wait<1>();
  __syncthreads();

  float logits[kTiles][4]{};
  dot_products(at, s, keys, (old_tiles + kTileDealers - at.dealer) / kTileDealers, logits);
  mask(at, share, visible, p.scale * 1.44269504f, logits);
  softmax(at, s, logits);
  ptx::copy_async_wait<0>();
  __syncthreads();

  tell_statistics(at, s, rank);
  float sums[2][4][4]{};
  weigh_values(at, s, values, old_tiles, sums);
  // Who has the statistics of all CTAs knows that none of them reads queries any more.
  wait_for_statistics(s.exchange);
  send_partials(s.exchange, s.partials, rank, at.warp, sums);
  make_factors(s.exchange);
  __syncthreads();
  store(p, first_token, rank, combine(s.exchange, s.partials, p.out_type));
}

/// Whether the kernels that follow are to keep off its multiprocessors, by the shared memory that
/// it asks for. Those of an expert with weights in e4m3, which f16 is for, are small enough to be
/// there already, and with 33 to 56 rows their copies cost this kernel more than they gain
/// (bench/study/gemm_skinny_chain).
bool is_alone(const AttentionParams& p) {
  return p.out_type == DType::kF16 && p.rows > 32 && p.rows <= 56;
}

constexpr unsigned kAloneBytes = 140 << 10;

template <int kTiles, int kResident>
void start(const AttentionParams& p, CUstream_st* stream) {
  const unsigned values_bytes = unsigned(most_old_tiles(p) + 1) * kTileKeys * kRowBytes;
  const unsigned needed = unsigned(sizeof(Shared<kTiles>)) + values_bytes;
  cuda::launch(attention_split_kernel<kTiles, kResident>,
               {.grid = unsigned((p.rows + kTokens - 1) / kTokens * kSplit),
                .block = kThreads,
                .shared_bytes = is_alone(p) ? std::max(needed, kAloneBytes) : needed,
                .order = cuda::Order::kOverlap},
               stream, p);
}

}  // namespace

bool attention_split_takes(const AttentionParams& p) {
  const auto has_vectors = [](const void* first, int stride) {
    return reinterpret_cast<std::uintptr_t>(first) % 16 == 0 && stride % 8 == 0;
  };
  return p.dtype == DType::kBf16 && (p.out_type == DType::kBf16 || p.out_type == DType::kF16) &&
         !p.quantized && p.sequences == 1 && p.rows > 0 && p.rows <= kMaxTokens &&
         p.heads == kHeads && p.kv_heads == 1 && p.head_dim == kHeadDim &&
         has_vectors(p.q, p.q_stride) && has_vectors(p.k, p.kv_stride) &&
         has_vectors(p.v, p.kv_stride) && has_vectors(p.out, p.out_stride) &&
         most_old_tiles(p) < 5 * kTileDealers;
}

void attention_split(const AttentionParams& p, CUstream_st* stream) {
  const int tiles = most_old_tiles(p);
  if (tiles < 3 * kTileDealers) return start<3, 2>(p, stream);
  if (tiles >= 4 * kTileDealers) return start<5, 1>(p, stream);
  // Of 16 clusters one would wait where a multiprocessor has one CTA; fewer like the registers.
  p.rows > 15 * kTokens ? start<4, 2>(p, stream) : start<4, 1>(p, stream);
}

}  // namespace saccade::ops::detail
