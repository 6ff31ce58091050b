// ops::quantize. It runs at load, where a weight's rows come from HBM, and where a kernel of a
// model does not quantise what it stores. Rows are read in 16-byte vectors where they are made of
// whole ones: a CTA has a row and reads it twice, the second time from the L2 cache; or a few lanes
// have a block of a row in registers.

#include "cuda/launch.h"
#include "ops/quantize/quantize.cuh"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

template <typename T, int kWidth>
struct alignas(kWidth * sizeof(T)) Vector {
  T at[kWidth];
};

template <typename T, int kWidth>
__device__ Vector<T, kWidth> load(const QuantizeParams& p, std::int64_t index) {
  return *reinterpret_cast<const Vector<T, kWidth>*>(static_cast<const T*>(p.x) + index);
}

template <typename T, int kWidth>
__device__ float largest_of(const Vector<T, kWidth>& vector, float largest) {
#pragma unroll
  for (const T& value : vector.at) largest = larger_magnitude(largest, float(value));
  return largest;
}

template <typename T, int kWidth>
__device__ void store(const QuantizeParams& p, std::int64_t index, const Vector<T, kWidth>& vector,
                      float inverse) {
  float values[kWidth];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) values[i] = float(vector.at[i]) * inverse;
  store_e4m3(static_cast<std::uint8_t*>(p.values) + index, values);
}

template <typename T, int kWidth>
__global__ __launch_bounds__(kThreads) void quantize_rows(
    const __grid_constant__ QuantizeParams p) {
  constexpr int kStep = kThreads * kWidth;
  __shared__ float partial[kWarps];
  cuda::allow_next();
  cuda::wait_for_previous();
  const std::int64_t row = std::int64_t(blockIdx.x) * p.columns;
  const int begin = int(threadIdx.x) * kWidth;
  float largest = 0;
#pragma unroll 4
  for (int i = begin; i < p.columns; i += kStep) {
    largest = largest_of(load<T, kWidth>(p, row + i), largest);
  }
  largest = largest_of_lanes(largest);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = largest;
  __syncthreads();
  for (float warp : partial) largest = larger_magnitude(largest, warp);
  const float scale = scale_of(largest);
  if (threadIdx.x == 0) p.scales[blockIdx.x] = scale;
  const float inverse = cuda::ptx::reciprocal_approx(scale);
#pragma unroll 4
  for (int i = begin; i < p.columns; i += kStep) {
    store(p, row + i, load<T, kWidth>(p, row + i), inverse);
  }
}

/// Group after group of lanes takes a block of the CTA's row.
template <typename T, int kWidth>
__global__ __launch_bounds__(kThreads) void quantize_blocks(
    const __grid_constant__ QuantizeParams p) {
  constexpr int kLanes = kWidth > 1 ? kScaleBlock / kWidth : 32;
  constexpr int kVectors = kScaleBlock / (kLanes * kWidth);
  constexpr int kGroups = kThreads / kLanes;
  cuda::allow_next();
  cuda::wait_for_previous();
  const int lane = int(threadIdx.x) % kLanes;
  const std::int64_t row = std::int64_t(blockIdx.x) * p.columns;
  for (int first = 0; first < p.blocks; first += kGroups) {  // the same for all of a warp
    const int block = first + int(threadIdx.x) / kLanes;
    const auto column = [&](int i) { return block * kScaleBlock + (i * kLanes + lane) * kWidth; };
    Vector<T, kWidth> vectors[kVectors];
    float largest = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (column(i) < p.columns) vectors[i] = load<T, kWidth>(p, row + column(i));
    }
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (column(i) < p.columns) largest = largest_of(vectors[i], largest);
    }
    const float scale = scale_of(largest_of_lanes<kLanes>(largest));
    if (lane == 0 && block < p.blocks) {
      p.scales[std::int64_t(block) * p.rows + blockIdx.x] = scale;
    }
    const float inverse = cuda::ptx::reciprocal_approx(scale);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (column(i) < p.columns) store(p, row + column(i), vectors[i], inverse);
    }
  }
}

template <typename T, int kWidth>
void start(const QuantizeParams& p, cudaStream_t stream) {
  const cuda::Launch config{
      .grid = dim3(unsigned(p.rows)), .block = dim3(kThreads), .order = cuda::Order::kOverlap};
  cuda::launch(p.blocks == 1 ? quantize_rows<T, kWidth> : quantize_blocks<T, kWidth>, config,
               stream, p);
}

template <typename T>
void start(const QuantizeParams& p, cudaStream_t stream) {
  constexpr int kWidth = 16 / sizeof(T);
  const auto addresses =
      reinterpret_cast<std::uintptr_t>(p.x) | reinterpret_cast<std::uintptr_t>(p.values);
  const bool has_vectors = p.columns % kWidth == 0 && addresses % 16 == 0;
  has_vectors ? start<T, kWidth>(p, stream) : start<T, 1>(p, stream);
}

}  // namespace

void quantize_cuda(const QuantizeParams& p, cudaStream_t stream) {
  if (p.x_type == DType::kF32) return start<float>(p, stream);
  p.x_type == DType::kF16 ? start<__half>(p, stream) : start<__nv_bfloat16>(p, stream);
}

}  // namespace saccade::ops::detail
