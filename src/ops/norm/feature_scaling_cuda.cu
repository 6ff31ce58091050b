// One thread per element, rounded after every operation as on the CPU: the bits are the same.

#include <cstddef>

#include "cuda/launch.h"
#include "ops/norm/feature_scaling.h"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 128;

template <bool kInverse>
__global__ __launch_bounds__(kThreads) void feature_scaling_kernel(
    const __grid_constant__ FeatureScalingParams p) {
  cuda::allow_next();
  cuda::wait_for_previous();
  const int column = int(blockIdx.x * kThreads + threadIdx.x);
  if (column >= p.dim) return;
  const float x = p.x[std::size_t(blockIdx.y) * p.x_stride + column];
  const float center = p.center[column];
  const float range = p.range[column];
  float& out = p.out[std::size_t(blockIdx.y) * p.dim + column];
  if constexpr (kInverse) {
    out = __fadd_rn(__fmul_rn(__fdiv_rn(__fsub_rn(x, p.bias), p.gain), range), center);
  } else {
    out = __fadd_rn(__fmul_rn(__fdiv_rn(__fsub_rn(x, center), range), p.gain), p.bias);
  }
}

cuda::Launch config_for(const FeatureScalingParams& p) {
  return {.grid = dim3((p.dim + kThreads - 1) / kThreads, p.rows),
          .block = dim3(kThreads),
          .order = cuda::Order::kOverlap};
}

}  // namespace

void normalize_cuda(const FeatureScalingParams& p, cudaStream_t stream) {
  cuda::launch(feature_scaling_kernel<false>, config_for(p), stream, p);
}

void denormalize_cuda(const FeatureScalingParams& p, cudaStream_t stream) {
  cuda::launch(feature_scaling_kernel<true>, config_for(p), stream, p);
}

}  // namespace saccade::ops::detail
