// The portable tensor-core gemm: tiles of x and weight through a ring of shared-memory stages
// (cp.async), mma.sync, and the epilogue from the sums in shared memory.
//
// Every warp owns 32 rows and half of the tile's rows of weight. For kGeglu a tile holds as many
// gate rows as up rows, of the same columns of out. Beyond m, n and k a stage holds zeros.

#include <algorithm>

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/mma.cuh"
#include "ops/gemm/finish_tile.cuh"

namespace saccade::ops::detail {
namespace {

namespace ptx = cuda::ptx;

constexpr int kDepth = 32;  // of a stage: 64 bytes of a row, four chunks of 16
constexpr int kStages = 4;
constexpr int kRowBytes = 64;
constexpr int kChunk = 8;  // elements
constexpr int kWarpRows = 32;

struct MmaParams {
  GemmParams gemm;
  bool wide;  // rows begin at multiples of 16 bytes, not of 8
};

template <int kRows_, int kWeights_, bool kGeglu_>
struct Tile {
  static constexpr int kRows = kRows_;
  static constexpr int kWeights = kWeights_;  // rows of weight
  static constexpr bool kGeglu = kGeglu_;
  static constexpr int kColumns = kGeglu ? kWeights / 2 : kWeights;  // of out
  static constexpr int kThreads = kRows / kWarpRows * 2 * 32;
  static constexpr int kStageBytes = (kRows + kWeights) * kRowBytes;
  static constexpr int kStride = kWeights + 8;  // of the sums: stores of fragments do not conflict
  static constexpr int kSharedBytes =
      std::max(kStages * kStageBytes, kRows* kStride* int(sizeof(float)));
};

/// Where a chunk lies in a stage: eight rows of one chunk take all 32 banks.
__device__ inline std::uint32_t chunk_offset(int row, int chunk) {
  return std::uint32_t(row * kRowBytes + (chunk ^ (row / 2 % 4)) * 16);
}

/// One thread's share of the copies of kRows rows: one chunk of every kThreads / 4th row.
template <typename T, int kRows, int kThreads>
struct RowCopies {
  static constexpr int kCount = kRows * 4 / kThreads;
  static constexpr int kStep = kThreads / 4;
  const T* from[kCount];
  bool inside[kCount];

  /// row_of gives a tile row's row in the matrix, or -1.
  template <typename RowOf>
  __device__ RowCopies(const void* matrix, int k, RowOf row_of) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int row = row_of(int(threadIdx.x) / 4 + i * kStep);
      inside[i] = row >= 0;
      from[i] = static_cast<const T*>(matrix) + std::int64_t(max(row, 0)) * k;
    }
  }

  __device__ void start(int step, int k, bool wide, std::uint32_t to) const {
    const int chunk = int(threadIdx.x) % 4;
    const int column = step * kDepth + chunk * kChunk;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const std::uint32_t target = to + chunk_offset(int(threadIdx.x) / 4 + i * kStep, chunk);
      const bool low = inside[i] && column < k;
      const bool high = inside[i] && column + 4 < k;
      if (wide) {
        ptx::copy_async_16(target, low ? from[i] + column : from[i], low ? 16 : 0);
      } else {
        ptx::copy_async_8(target, low ? from[i] + column : from[i], low ? 8 : 0);
        ptx::copy_async_8(target + 8, high ? from[i] + column + 4 : from[i], high ? 8 : 0);
      }
    }
  }
};

/// A warp's fragments of one stage, multiplied.
template <typename T, int kPairs>
__device__ inline void multiply(std::uint32_t x, std::uint32_t weight, int warp_row,
                                int warp_weight, float (&sums)[2][2 * kPairs][4]) {
  const int lane = int(threadIdx.x) % 32;
#pragma unroll
  for (int chunk = 0; chunk < kDepth / kChunk; chunk += 2) {
    std::uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      ptx::ldmatrix_x4(a[i], x + chunk_offset(warp_row + i * 16 + lane % 16, chunk + lane / 16));
    }
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      std::uint32_t b[4];  // 16 rows of weight: k and k + 8 of the first eight, then of the others
      const int row = warp_weight + j * 16 + lane / 16 * 8 + lane % 8;
      ptx::ldmatrix_x4(b, weight + chunk_offset(row, chunk + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        ptx::mma_m16n8k16(sums[i][2 * j], a[i], b[0], b[1], T{});
        ptx::mma_m16n8k16(sums[i][2 * j + 1], a[i], b[2], b[3], T{});
      }
    }
  }
}

template <int kStride, int kCount>
__device__ inline void store_sums(float* tile, int warp_row, int warp_weight,
                                  const float (&sums)[2][kCount][4]) {
  const int row = warp_row + int(threadIdx.x) % 32 / 4;
  const int column = warp_weight + int(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      float* to = tile + (row + i * 16) * kStride + column + j * 8;
      *reinterpret_cast<float2*>(to) = {sums[i][j][0], sums[i][j][1]};
      *reinterpret_cast<float2*>(to + 8 * kStride) = {sums[i][j][2], sums[i][j][3]};
    }
  }
}

template <typename T, typename Tile>
__global__ __launch_bounds__(Tile::kThreads,
                             2) void gemm_mma_kernel(__grid_constant__ const MmaParams params) {
  const GemmParams& p = params.gemm;
  extern __shared__ __align__(128) unsigned char shared[];
  cuda::allow_next();
  const std::uint32_t stages = ptx::shared_address(shared);
  const int row = int(blockIdx.x) * Tile::kRows;
  const int column = int(blockIdx.y) * Tile::kColumns;
  const auto stage = [&](int step) {
    return stages + std::uint32_t(step % kStages * Tile::kStageBytes);
  };
  constexpr std::uint32_t kWeightOffset = Tile::kRows * kRowBytes;
  const RowCopies<T, Tile::kWeights, Tile::kThreads> weight(p.weight, p.k, [&](int i) {
    const int own = column + i % Tile::kColumns;
    return own < p.n ? own + i / Tile::kColumns * p.n : -1;
  });
  const RowCopies<T, Tile::kRows, Tile::kThreads> x(
      p.x, p.k, [&](int i) { return row + i < p.m ? row + i : -1; });

  // The first group of copies also holds what of the weights is copied before the wait.
  const int steps = (p.k + kDepth - 1) / kDepth;
  for (int step = 0; step < min(steps, kStages - 1); ++step) {
    weight.start(step, p.k, params.wide, stage(step) + kWeightOffset);
  }
  cuda::wait_for_previous();
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < steps) x.start(step, p.k, params.wide, stage(step));
    ptx::copy_async_commit();
  }

  const int warp = int(threadIdx.x) / 32;
  const int warp_row = warp / 2 * kWarpRows;
  const int warp_weight = warp % 2 * (Tile::kWeights / 2);
  float sums[2][Tile::kWeights / 16][4] = {};
  for (int step = 0; step < steps; ++step) {
    ptx::copy_async_wait<kStages - 2>();
    __syncthreads();  // The stage of `step` is complete; that of step - 1 is free.
    const int next = step + kStages - 1;
    if (next < steps) {
      x.start(next, p.k, params.wide, stage(next));
      weight.start(next, p.k, params.wide, stage(next) + kWeightOffset);
    }
    ptx::copy_async_commit();
    multiply<T, Tile::kWeights / 32>(stage(step), stage(step) + kWeightOffset, warp_row,
                                     warp_weight, sums);
  }

  __syncthreads();
  auto* const tile = reinterpret_cast<float*>(shared);
  store_sums<Tile::kStride>(tile, warp_row, warp_weight, sums);
  __syncthreads();
  finish_tile<8>(p, {.sums = tile,
                     .stride = Tile::kStride,
                     .up = Tile::kColumns,
                     .row = row,
                     .column = column,
                     .rows = Tile::kRows,
                     .columns = Tile::kColumns});
}

int tiles(int extent, int size) { return (extent + size - 1) / size; }

template <typename T, typename Tile>
void run(const GemmParams& p, cudaStream_t stream) {
  const cuda::Launch config{.grid = dim3(tiles(p.m, Tile::kRows), tiles(p.n, Tile::kColumns)),
                            .block = dim3(Tile::kThreads),
                            .shared_bytes = Tile::kSharedBytes,
                            .order = cuda::Order::kOverlap};
  const auto addresses =
      reinterpret_cast<std::uintptr_t>(p.x) | reinterpret_cast<std::uintptr_t>(p.weight);
  const bool wide = p.k % kChunk == 0 && addresses % 16 == 0;
  cuda::launch(gemm_mma_kernel<T, Tile>, config, stream, {p, wide});
}

constexpr int kEnoughTiles = 100;  // Fewer large ones leave multiprocessors idle.

template <typename T>
void run_tiles(const GemmParams& p, cudaStream_t stream) {
  const bool geglu = p.activation == Activation::kGeglu;
  const bool large =
      p.m > 64 && std::int64_t(tiles(p.m, 128)) * tiles(p.n, geglu ? 64 : 128) >= kEnoughTiles;
  if (geglu) {
    return large ? run<T, Tile<128, 128, true>>(p, stream) : run<T, Tile<64, 128, true>>(p, stream);
  }
  large ? run<T, Tile<128, 128, false>>(p, stream) : run<T, Tile<64, 64, false>>(p, stream);
}

}  // namespace

bool gemm_mma_takes(const GemmParams& p) {
  const auto addresses =
      reinterpret_cast<std::uintptr_t>(p.x) | reinterpret_cast<std::uintptr_t>(p.weight);
  return p.x_type == p.weight_type && size_of(p.x_type) == 2 && p.k % 4 == 0 && addresses % 8 == 0;
}

void gemm_mma(const GemmParams& p, CUstream_st* stream) {
  p.x_type == DType::kF16 ? run_tiles<__half>(p, stream) : run_tiles<__nv_bfloat16>(p, stream);
}

}  // namespace saccade::ops::detail
