// The gemm of any types and any shape: f32 products in the order of k, 64 x 64 tiles, 4 x 4 sums a
// thread. It carries a policy in f32.

#include "cuda/launch.h"
#include "ops/gemm/finish_tile.cuh"
#include "ops/gemm/load_four.cuh"

namespace saccade::ops::detail {
namespace {

constexpr int kTile = 64;   // rows, and columns of out
constexpr int kDepth = 16;  // of a step of k
constexpr int kThreads = 256;
constexpr int kPadded = kTile + 4;  // Four values of a row stay aligned.

/// x, then the gate or only columns, then the up columns: a step of k of a tile each, by k.
template <int kMatrices>
struct Stage {
  float values[kMatrices][kDepth][kPadded];
};

template <int kHalves>
union Shared {
  Stage<1 + kHalves> stages[2];
  float sums[kTile][kHalves * kTile + 8];
};

/// One thread's share of the operands of a step: four elements of one row of each matrix.
template <int kHalves>
struct Loads {
  Four four[1 + kHalves];

  /// Of the x_scales, for an element of a row of x.
  __device__ static int block_of(const GemmParams& p, int k) {
    return p.x_blocks == 1 ? 0 : min(k / kScaleBlock, p.x_blocks - 1);
  }

  __device__ static void scale(Four& values, float factor) {
#pragma unroll
    for (float& value : values.value) value *= factor;
  }

  __device__ void start(const GemmParams& p, int row, int column, int begin) {
    const int k = begin + int(threadIdx.x) % 4 * 4;
    const int i = int(threadIdx.x) / 4;
    const std::int64_t x = std::int64_t(row + i) * p.k + k;
    four[0] = load_four(p.x, p.x_type, x, row + i < p.m ? p.k - k : 0);
    if (p.x_scales && row + i < p.m) scale(four[0], p.x_scales[block_of(p, k) * p.m + row + i]);
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const std::int64_t weight = (std::int64_t(half) * p.n + column + i) * p.k + k;
      four[1 + half] = load_four(p.weight, p.weight_type, weight, column + i < p.n ? p.k - k : 0);
      if (p.weight_scales && column + i < p.n) {
        scale(four[1 + half], p.weight_scales[half * p.n + column + i]);
      }
    }
  }

  __device__ void store(Stage<1 + kHalves>& stage) const {
#pragma unroll
    for (int matrix = 0; matrix < 1 + kHalves; ++matrix) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        stage.values[matrix][threadIdx.x % 4 * 4 + i][threadIdx.x / 4] = four[matrix].value[i];
      }
    }
  }
};

template <int kHalves>
__device__ inline void multiply(const Stage<1 + kHalves>& stage, float (&sums)[kHalves][4][4]) {
  const int row = int(threadIdx.x) / 16 * 4;
  const int column = int(threadIdx.x) % 16 * 4;
#pragma unroll
  for (int k = 0; k < kDepth; ++k) {
    const Four x = *reinterpret_cast<const Four*>(&stage.values[0][k][row]);
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const Four weight = *reinterpret_cast<const Four*>(&stage.values[1 + half][k][column]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          sums[half][i][j] = fmaf(x.value[i], weight.value[j], sums[half][i][j]);
        }
      }
    }
  }
}

/// kHalves is 2 for kGeglu.
template <int kHalves>
__global__ __launch_bounds__(kThreads,
                             2) void gemm_simple_kernel(__grid_constant__ const GemmParams p) {
  __shared__ __align__(16) Shared<kHalves> shared;
  cuda::allow_next();
  cuda::wait_for_previous();
  const int row = int(blockIdx.x) * kTile;
  const int column = int(blockIdx.y) * kTile;
  Loads<kHalves> loads;
  loads.start(p, row, column, 0);
  float sums[kHalves][4][4] = {};
  int slot = 0;
  for (int begin = 0; begin < p.k; begin += kDepth, slot ^= 1) {
    loads.store(shared.stages[slot]);
    __syncthreads();  // This slot is complete, and nobody reads the other one any more.
    if (begin + kDepth < p.k) loads.start(p, row, column, begin + kDepth);
    multiply<kHalves>(shared.stages[slot], sums);
  }
  __syncthreads();
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* to = shared.sums[threadIdx.x / 16 * 4 + i] + half * kTile + threadIdx.x % 16 * 4;
      *reinterpret_cast<float4*>(to) = {sums[half][i][0], sums[half][i][1], sums[half][i][2],
                                        sums[half][i][3]};
    }
  }
  __syncthreads();
  finish_tile<4>(p, {.sums = shared.sums[0],
                     .stride = kHalves * kTile + 8,
                     .up = kTile,
                     .row = row,
                     .column = column,
                     .rows = kTile,
                     .columns = kTile});
}

}  // namespace

void gemm_simple(const GemmParams& p, CUstream_st* stream) {
  const cuda::Launch config{.grid = dim3((p.m + kTile - 1) / kTile, (p.n + kTile - 1) / kTile),
                            .block = dim3(kThreads),
                            .order = cuda::Order::kOverlap};
  const bool geglu = p.activation == Activation::kGeglu;
  cuda::launch(geglu ? gemm_simple_kernel<2> : gemm_simple_kernel<1>, config, stream, p);
}

}  // namespace saccade::ops::detail
