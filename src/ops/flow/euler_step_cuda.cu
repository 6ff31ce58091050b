// One thread per element; product and sum are rounded apart, as on the CPU.

#include "cuda/launch.h"
#include "ops/flow/euler_step.h"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 128;

__global__ __launch_bounds__(kThreads) void euler_step_kernel(
    const __grid_constant__ EulerStepParams p) {
  cuda::allow_next();
  cuda::wait_for_previous();
  const std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < p.size) p.x[i] = __fadd_rn(p.x[i], __fmul_rn(p.dt, p.velocity[i]));
}

}  // namespace

void euler_step_cuda(const EulerStepParams& p, cudaStream_t stream) {
  const cuda::Launch config{.grid = dim3(unsigned((p.size + kThreads - 1) / kThreads)),
                            .block = dim3(kThreads),
                            .order = cuda::Order::kOverlap};
  cuda::launch(euler_step_kernel, config, stream, p);
}

}  // namespace saccade::ops::detail
