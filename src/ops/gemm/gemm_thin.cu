// The gemm of a few columns or of a short k, where latency is all: f32 products, the weights read
// before the previous kernel has finished.

#include "cuda/launch.h"
#include "ops/gemm/finish_tile.cuh"
#include "ops/gemm/load_four.cuh"

namespace saccade::ops::detail {
namespace {

constexpr int kFewColumns = 32;
constexpr int kLongestRow = 2048;
constexpr int kShortRow = 64;

int tiles(int extent, int size) { return (extent + size - 1) / size; }

// --- n <= 32: a CTA for each row, two columns for each warp, four elements of k for each lane ---

constexpr int kRowThreads = 512;
constexpr int kWarpColumns = kFewColumns / (kRowThreads / 32);
constexpr int kWarpStep = 32 * 4;
constexpr int kHeld = 8;  // steps whose weights stay in registers across the wait

template <typename T>
struct alignas(4 * sizeof(T)) Pack {
  T value[4];
};

template <typename T>
__device__ inline float dot(const Pack<T>& weight, const float* x, float sum) {
  const float4 values = *reinterpret_cast<const float4*>(x);
  sum = fmaf(float(weight.value[0]), values.x, sum);
  sum = fmaf(float(weight.value[1]), values.y, sum);
  sum = fmaf(float(weight.value[2]), values.z, sum);
  return fmaf(float(weight.value[3]), values.w, sum);
}

template <typename T>
__global__ __launch_bounds__(kRowThreads) void few_columns_kernel(
    __grid_constant__ const GemmParams p) {
  __shared__ __align__(16) float x[kLongestRow];
  __shared__ __align__(8) float sums[kFewColumns];
  cuda::allow_next();
  const int row = int(blockIdx.x);
  const int first = int(threadIdx.x) / 32 * kWarpColumns;
  const int lane_k = int(threadIdx.x) % 32 * 4;
  const T* weight[kWarpColumns];
  Pack<T> held[kWarpColumns][kHeld];
#pragma unroll
  for (int c = 0; c < kWarpColumns; ++c) {
    weight[c] = static_cast<const T*>(p.weight) + std::int64_t(min(first + c, p.n - 1)) * p.k;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int k = i * kWarpStep + lane_k;
      if (k < p.k) held[c][i] = *reinterpret_cast<const Pack<T>*>(weight[c] + k);
    }
  }

  cuda::wait_for_previous();
  for (int k = 2 * int(threadIdx.x); k < p.k; k += 2 * kRowThreads) {
    *reinterpret_cast<float2*>(x + k) = load_pair(p.x, p.x_type, std::int64_t(row) * p.k + k);
  }
  __syncthreads();
#pragma unroll
  for (int c = 0; c < kWarpColumns; ++c) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int k = i * kWarpStep + lane_k;
      if (k < p.k) sum = dot(held[c][i], x + k, sum);
    }
    for (int k = kHeld * kWarpStep + lane_k; k < p.k; k += kWarpStep) {
      sum = dot(*reinterpret_cast<const Pack<T>*>(weight[c] + k), x + k, sum);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[first + c] = sum;
  }
  __syncthreads();
  finish_tile<1>(p, {.sums = sums,
                     .stride = kFewColumns,
                     .up = 0,
                     .row = row,
                     .column = 0,
                     .rows = 1,
                     .columns = kPartColumns});
}

// --- k <= 64: a CTA for a few rows and 128 columns, one column for each thread ---

constexpr int kRows = 4;
constexpr int kColumns = 128;
constexpr int kStride = kShortRow + 4;  // Quarter-warps that read 16 bytes of their rows each do
                                        // not conflict.

/// kCount rows of a matrix of `rows` rows in f32, with zeros up to the next multiple of four
/// elements and beyond the last row.
template <int kCount>
__device__ inline void load_rows(const void* matrix, DType dtype, int first, int rows, int k,
                                 float (&to)[kCount][kStride]) {
  const int fours = (k + 3) / 4;
#pragma unroll 4
  for (int i = int(threadIdx.x); i < kCount * fours; i += kColumns) {
    const int row = i / fours;
    const int column = i % fours * 4;
    const int count = first + row < rows ? k - column : 0;
    *reinterpret_cast<Four*>(&to[row][column]) =
        load_four(matrix, dtype, std::int64_t(first + row) * k + column, count);
  }
}

__global__ __launch_bounds__(kColumns) void short_rows_kernel(
    __grid_constant__ const GemmParams p) {
  __shared__ __align__(16) float weight[kColumns][kStride];
  __shared__ __align__(16) float x[kRows][kStride];
  __shared__ __align__(8) float sums[kRows][kColumns];
  cuda::allow_next();
  const int row = int(blockIdx.x) * kRows;
  const int column = int(blockIdx.y) * kColumns;
  load_rows(p.weight, p.weight_type, column, p.n, p.k, weight);
  cuda::wait_for_previous();
  load_rows(p.x, p.x_type, row, p.m, p.k, x);
  __syncthreads();
  float sum[kRows] = {};
  for (int k = 0; k < p.k; k += 4) {
    const auto values = *reinterpret_cast<const Pack<float>*>(&weight[threadIdx.x][k]);
#pragma unroll
    for (int i = 0; i < kRows; ++i) sum[i] = dot(values, &x[i][k], sum[i]);
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) sums[i][threadIdx.x] = sum[i];
  __syncthreads();
  finish_tile<2>(p, {.sums = sums[0],
                     .stride = kColumns,
                     .up = 0,
                     .row = row,
                     .column = column,
                     .rows = kRows,
                     .columns = kColumns});
}

bool has_short_rows(const GemmParams& p) { return p.k <= kShortRow; }

bool has_few_columns(const GemmParams& p) {
  const auto addresses =
      reinterpret_cast<std::uintptr_t>(p.x) | reinterpret_cast<std::uintptr_t>(p.weight);
  return p.n <= kFewColumns && p.k <= kLongestRow && p.k % 4 == 0 && addresses % 16 == 0;
}

}  // namespace

bool gemm_thin_takes(const GemmParams& p) {
  return p.activation != Activation::kGeglu && (has_short_rows(p) || has_few_columns(p));
}

void gemm_thin(const GemmParams& p, CUstream_st* stream) {
  cuda::Launch config{.grid = dim3(tiles(p.m, kRows), tiles(p.n, kColumns)),
                      .block = dim3(kColumns),
                      .order = cuda::Order::kOverlap};
  if (has_short_rows(p)) return cuda::launch(short_rows_kernel, config, stream, p);
  config.grid = dim3(p.m);
  config.block = dim3(kRowThreads);
  const auto kernel = p.weight_type == DType::kF32   ? few_columns_kernel<float>
                      : p.weight_type == DType::kF16 ? few_columns_kernel<__half>
                                                     : few_columns_kernel<__nv_bfloat16>;
  cuda::launch(kernel, config, stream, p);
}

}  // namespace saccade::ops::detail
