// RMSNorm, one CTA per row.
//
// A policy has 10 to 1000 rows, so one CTA per row fills the GPU in at most eight
// waves and keeps a row in registers: x is read once. Bound by launch latency below
// about 100 rows, by L2 above.

#include <cuda_bf16.h>

#include "cuda/launch.h"
#include "ops/norm/rms_norm.h"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;     // elements per 16-byte bf16 load
constexpr int kMaxChunks = 2;  // dim <= 256 * 8 * 2 = 4096

__device__ float block_sum(float value) {
  __shared__ float partial[kThreads / 32];
  for (int lane = 16; lane > 0; lane /= 2) value += __shfl_xor_sync(~0u, value, lane);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
  for (float warp : partial) total += warp;
  return total;
}

/// The elements one thread holds of a chunk; f32 takes two loads.
template <typename T>
struct alignas(16) Pack {
  T lane[kVector];
};

template <typename X, typename Out>
__global__ __launch_bounds__(kThreads) void rms_norm_kernel(RmsNormParams p) {
  const auto* x = static_cast<const X*>(p.x) + std::size_t(blockIdx.x) * p.dim;
  auto* out = static_cast<Out*>(p.out) + std::size_t(blockIdx.x) * p.dim;

  Pack<float> w[kMaxChunks];
  Pack<X> v[kMaxChunks];
  auto column = [](int chunk) { return int(chunk * kThreads + threadIdx.x) * kVector; };

#pragma unroll
  for (int c = 0; c < kMaxChunks; ++c) {
    if (column(c) < p.dim) w[c] = *reinterpret_cast<const Pack<float>*>(p.weight + column(c));
  }

  cuda::wait_for_previous();
  cuda::allow_next();

  float sum = 0;
#pragma unroll
  for (int c = 0; c < kMaxChunks; ++c) {
    if (column(c) >= p.dim) continue;
    v[c] = *reinterpret_cast<const Pack<X>*>(x + column(c));
    for (X e : v[c].lane) sum += float(e) * float(e);
  }
  const float scale = rsqrtf(block_sum(sum) / p.dim + p.eps);

#pragma unroll
  for (int c = 0; c < kMaxChunks; ++c) {
    if (column(c) >= p.dim) continue;
    Pack<Out> normed;
    for (int i = 0; i < kVector; ++i) {
      normed.lane[i] = Out(float(v[c].lane[i]) * scale * w[c].lane[i]);
    }
    *reinterpret_cast<Pack<Out>*>(out + column(c)) = normed;
  }
}

template <typename X>
auto kernel_for(DType out_dtype) {
  return out_dtype == DType::kF32 ? rms_norm_kernel<X, float> : rms_norm_kernel<X, __nv_bfloat16>;
}

}  // namespace

void rms_norm_sm90(const RmsNormParams& p, cudaStream_t stream) {
  const auto kernel = p.x_dtype == DType::kF32 ? kernel_for<float>(p.out_dtype)
                                               : kernel_for<__nv_bfloat16>(p.out_dtype);
  const cuda::Launch config{
      .grid = dim3(p.rows), .block = dim3(kThreads), .order = cuda::Order::kOverlap};
  cuda::launch(kernel, config, stream, p);
}

}  // namespace saccade::ops::detail
