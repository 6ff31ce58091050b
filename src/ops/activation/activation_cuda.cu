// One thread per element.

#include "cuda/launch.h"
#include "ops/activation/activation.h"
#include "ops/device_elements.cuh"
#include "ops/gemm/epilogue.cuh"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 256;

template <Activation kActivation>
__global__ __launch_bounds__(kThreads) void activation_kernel(
    const __grid_constant__ ActivationParams p) {
  cuda::allow_next();
  cuda::wait_for_previous();
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.size) return;
  store_element(p.out, p.dtype, i, activate(kActivation, load_element(p.x, p.dtype, i)));
}

cuda::Launch config_for(const ActivationParams& p) {
  return {.grid = dim3(unsigned((p.size + kThreads - 1) / kThreads)),
          .block = dim3(kThreads),
          .order = cuda::Order::kOverlap};
}

}  // namespace

void silu_cuda(const ActivationParams& p, cudaStream_t stream) {
  cuda::launch(activation_kernel<Activation::kSilu>, config_for(p), stream, p);
}

void gelu_cuda(const ActivationParams& p, cudaStream_t stream) {
  cuda::launch(activation_kernel<Activation::kGelu>, config_for(p), stream, p);
}

}  // namespace saccade::ops::detail
