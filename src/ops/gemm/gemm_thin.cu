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

unsigned tiles(int extent, int size) { return (extent + size - 1) / size; }

template <typename T>
struct alignas(4 * sizeof(T)) Pack {
  T value[4];
};

template <typename T>
__device__ inline Pack<T> pack_at(const void* data, std::int64_t index) {
  return *reinterpret_cast<const Pack<T>*>(static_cast<const T*>(data) + index);
}

template <typename T, typename X>
__device__ inline float dot(const Pack<T>& weight, const Pack<X>& x, float sum) {
#pragma unroll
  for (int i = 0; i < 4; ++i) sum = fmaf(float(weight.value[i]), float(x.value[i]), sum);
  return sum;
}

// --- n <= 32: a column of two rows for each warp, four elements of k at a time for each lane ---

constexpr int kPairRows = 2;
constexpr int kWarps = 8;  // of a CTA, each with its column
constexpr int kWarpStep = 32 * 4;
constexpr int kHeld = 8;  // steps whose weights stay in registers across the wait

/// Lane i finishes row i; what that reads is on its way since the wait, or before it.
template <typename T, typename X>
__global__ __launch_bounds__(32 * kWarps,
                             1) void few_columns_kernel(__grid_constant__ const GemmParams p) {
  cuda::allow_next();
  const int lane = int(threadIdx.x) % 32;
  const int row = int(blockIdx.x) * kPairRows;
  const int column = int(blockIdx.y) * kWarps + int(threadIdx.x) / 32;
  if (column >= p.n) return cuda::wait_for_previous();
  const std::int64_t weight = std::int64_t(column) * p.k + lane * 4;
  Pack<T> held[kHeld] = {};
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (i * kWarpStep + lane * 4 < p.k) held[i] = pack_at<T>(p.weight, weight + i * kWarpStep);
  }
  const ColumnTerms terms = column_terms(p, column);
  const bool finishes = lane < kPairRows && row + lane < p.m;
  const std::int64_t index = std::int64_t(row + lane) * p.n + column;
  GuidanceTerms guidance;
  if (finishes && p.guidance_weights) {
    guidance = {p.guidance_weights[row + lane], {p.guidance_target[index], 0}};
  }

  cuda::wait_for_previous();
  const std::int64_t x[kPairRows] = {std::int64_t(row) * p.k + lane * 4,
                                     std::int64_t(min(row + 1, p.m - 1)) * p.k + lane * 4};
  Pack<X> values[kPairRows][kHeld] = {};
#pragma unroll
  for (int r = 0; r < kPairRows; ++r) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int k = i * kWarpStep;
      if (k + lane * 4 < p.k) values[r][i] = pack_at<X>(p.x, x[r] + k);
    }
  }
  float2 residual = {0, 0};
  if (finishes && p.residual) residual.x = load_element(p.residual, p.out_type, index);
  float factors[kPairRows];
  norm_factors(p, row, factors);

  float sums[kPairRows] = {};
#pragma unroll
  for (int r = 0; r < kPairRows; ++r) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) sums[r] = dot(held[i], values[r][i], sums[r]);
    for (int k = kHeld * kWarpStep; k + lane * 4 < p.k; k += kWarpStep) {
      sums[r] = dot(pack_at<T>(p.weight, weight + k), pack_at<X>(p.x, x[r] + k), sums[r]);
    }
    sums[r] = warp_sum(sums[r]);
  }
  if (!finishes) return;
  const float2 sum = {lane == 0 ? sums[0] : sums[1], 0};
  const float factor = lane == 0 ? factors[0] : factors[1];
  const float2 value = finished_sums(p, terms, factor, sum, {}, guidance, residual);
  store_element(p.out, p.out_type, index, value.x + residual.x);
}

// --- k <= 64: two rows and 64 columns for each warp, a pair of columns for each lane ---

constexpr int kRows = 4;
constexpr int kColumns = 128;
constexpr int kThreads = 128;
constexpr int kHeldFours = 8;  // of a row of weight, which stay in registers across the wait
constexpr int kShortFours = kShortRow / 4;
static_assert(kThreads / 32 * kPairRows * kPartColumns == kRows * kColumns);
static_assert(kRows * kShortFours <= kThreads);

/// A tile of rows of weight, zeros beyond n: even rows, then odd ones, and an odd stride, so that
/// lanes that read 16 bytes do not conflict.
using WeightTile = Four[kColumns][kShortFours + 1];

/// A batch of loads is in flight before the first is stored.
template <typename T>
__device__ inline void load_weight(const GemmParams& p, int first, WeightTile& tile) {
  constexpr int kBatch = kColumns * kHeldFours / kThreads;
  const int fours = p.k / 4;
  const int inside = min(kColumns, p.n - first) * fours;
  for (int begin = int(threadIdx.x); begin < kColumns * fours; begin += kBatch * kThreads) {
    Pack<T> loaded[kBatch] = {};
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int index = begin + i * kThreads;
      if (index < inside) {
        loaded[i] = pack_at<T>(p.weight, std::int64_t(first) * p.k + 4 * index);
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int row = (begin + i * kThreads) / fours;
      const int four = (begin + i * kThreads) % fours;
      if (row >= kColumns) break;
      tile[row / 2 + row % 2 * (kColumns / 2)][four] = {
          float(loaded[i].value[0]), float(loaded[i].value[1]), float(loaded[i].value[2]),
          float(loaded[i].value[3])};
    }
  }
}

__device__ inline void add_products(const Four (&weight)[2], const Four& x, float2& sum) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum.x = fmaf(weight[0].value[i], x.value[i], sum.x);
    sum.y = fmaf(weight[1].value[i], x.value[i], sum.y);
  }
}

/// The CTA's rows of x, with zeros behind m and k.
__device__ inline void load_short_rows(const GemmParams& p, int first_row,
                                       Four (&x)[kRows][kShortFours]) {
  if (threadIdx.x >= kRows * kShortFours) return;
  const int row = int(threadIdx.x) / kShortFours, four = int(threadIdx.x) % kShortFours;
  const bool inside = first_row + row < p.m && 4 * four < p.k;
  x[row][four] =
      load_four(p.x, p.x_type, std::int64_t(first_row + row) * p.k + 4 * four, inside ? 4 : 0);
}

template <typename T>
__global__ __launch_bounds__(kThreads) void short_rows_kernel(
    __grid_constant__ const GemmParams p) {
  __shared__ WeightTile weight;
  __shared__ Four x[kRows][kShortFours];
  cuda::allow_next();
  const int first_row = int(blockIdx.x) * kRows;
  const int pair = int(threadIdx.x) / 32 / 2 * kPairRows;
  const int row = first_row + pair;
  const int first_column = int(blockIdx.y) * kColumns;
  const int offset = int(threadIdx.x) / 32 % 2 * kPartColumns + int(threadIdx.x) % 32 * 2;
  const int column = first_column + offset;
  load_weight<T>(p, first_column, weight);
  const ColumnTerms terms = column < p.n ? column_terms(p, column) : ColumnTerms{};
  __syncthreads();
  const int fours = p.k / 4;
  const Four* const own[2] = {weight[offset / 2], weight[offset / 2 + kColumns / 2]};
  Four held[kHeldFours][2];
#pragma unroll
  for (int i = 0; i < kHeldFours; ++i) {
    held[i][0] = i < fours ? own[0][i] : Four{};
    held[i][1] = i < fours ? own[1][i] : Four{};
  }

  cuda::wait_for_previous();
  load_short_rows(p, first_row, x);
  float2 residuals[kPairRows] = {};
#pragma unroll
  for (int r = 0; r < kPairRows; ++r) {
    if (!p.residual || row + r >= p.m || column >= p.n) continue;
    residuals[r] = load_columns(p, p.residual, p.out_type, std::int64_t(row + r) * p.n + column,
                                column + 1 < p.n);
  }
  float factors[kPairRows];
  norm_factors(p, row, factors);
  __syncthreads();

  float2 sums[kPairRows] = {};
#pragma unroll
  for (int i = 0; i < kHeldFours; ++i) {
#pragma unroll
    for (int r = 0; r < kPairRows; ++r) add_products(held[i], x[pair + r][i], sums[r]);
  }
  for (int i = kHeldFours; i < fours; ++i) {
    const Four more[2] = {own[0][i], own[1][i]};
#pragma unroll
    for (int r = 0; r < kPairRows; ++r) add_products(more, x[pair + r][i], sums[r]);
  }
#pragma unroll
  for (int r = 0; r < kPairRows; ++r) {
    if (row + r >= p.m) continue;
    float2 value = finished_sums(p, terms, factors[r], sums[r], {}, {}, {});
    value = {column < p.n ? value.x + residuals[r].x : 0.0f,
             column + 1 < p.n ? value.y + residuals[r].y : 0.0f};
    store_results(p, terms, row + r, column, value);
  }
  zero_parts_behind(p, first_row, kRows, first_column + kColumns);
}

bool has_short_rows(const GemmParams& p) { return p.k <= kShortRow && !p.guidance_weights; }

bool has_few_columns(const GemmParams& p) {
  return p.n <= kFewColumns && p.k <= kLongestRow && !p.squares;
}

template <typename T>
void start(const GemmParams& p, cudaStream_t stream) {
  if (has_short_rows(p)) {
    return cuda::launch(short_rows_kernel<T>,
                        {.grid = dim3(tiles(p.m, kRows), tiles(p.n, kColumns)),
                         .block = dim3(kThreads),
                         .order = cuda::Order::kOverlap},
                        stream, p);
  }
  const auto kernel = p.x_type == DType::kF32   ? few_columns_kernel<T, float>
                      : p.x_type == DType::kF16 ? few_columns_kernel<T, __half>
                                                : few_columns_kernel<T, __nv_bfloat16>;
  cuda::launch(kernel,
               {.grid = dim3(tiles(p.m, kPairRows), tiles(p.n, kWarps)),
                .block = dim3(32 * kWarps),
                .order = cuda::Order::kOverlap},
               stream, p);
}

}  // namespace

bool gemm_thin_takes(const GemmParams& p) {
  const auto addresses =
      reinterpret_cast<std::uintptr_t>(p.x) | reinterpret_cast<std::uintptr_t>(p.weight);
  return p.activation != Activation::kGeglu && !p.x_scales && !p.weight_scales && !p.quantized &&
         p.k % 4 == 0 && addresses % 16 == 0 && (has_short_rows(p) || has_few_columns(p));
}

void gemm_thin(const GemmParams& p, CUstream_st* stream) {
  if (p.weight_type == DType::kF32) return start<float>(p, stream);
  p.weight_type == DType::kF16 ? start<__half>(p, stream) : start<__nv_bfloat16>(p, stream);
}

}  // namespace saccade::ops::detail
