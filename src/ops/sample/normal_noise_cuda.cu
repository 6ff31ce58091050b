// One thread per block of four values.

#include <numbers>

#include "core/philox.h"
#include "cuda/launch.h"
#include "ops/device_elements.cuh"
#include "ops/sample/normal_noise.h"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 128;

/// Two independent normal values from two words, rounded where the CPU rounds.
__device__ float2 box_muller(std::uint32_t a, std::uint32_t b) {
  constexpr float kStep = 0x1p-32f;
  constexpr float kTwoPi = 2 * std::numbers::pi_v<float>;
  const float u = float(a) * kStep + kStep / 2;  // in (0, 1]: never log(0)
  const float radius = sqrtf(-2 * logf(u));
  float sine, cosine;
  sincosf(__fmul_rn(kTwoPi, float(b) * kStep), &sine, &cosine);
  return {radius * cosine, radius * sine};
}

__global__ __launch_bounds__(kThreads) void normal_noise_kernel(
    const __grid_constant__ NormalNoiseParams p) {
  cuda::allow_next();
  cuda::wait_for_previous();
  const std::uint64_t block = std::uint64_t(blockIdx.x) * kThreads + threadIdx.x;
  const auto first = std::int64_t(block * 4);
  if (first >= p.size) return;
  std::uint32_t words[4] = {std::uint32_t(block), std::uint32_t(block >> 32), 0, 0};
  philox4x32_in_place(words, std::uint32_t(p.seed), std::uint32_t(p.seed >> 32));
  const float2 pair0 = box_muller(words[0], words[1]);
  const float2 pair1 = box_muller(words[2], words[3]);
  const float values[4] = {pair0.x, pair0.y, pair1.x, pair1.y};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (first + i < p.size) {
      store_element(p.out, p.dtype, first + i,
                    __fadd_rn(p.mean, __fmul_rn(p.deviation, values[i])));
    }
  }
}

}  // namespace

void normal_noise_cuda(const NormalNoiseParams& p, cudaStream_t stream) {
  constexpr std::int64_t kPerCta = 4 * kThreads;
  const cuda::Launch config{.grid = dim3(unsigned((p.size + kPerCta - 1) / kPerCta)),
                            .block = dim3(kThreads),
                            .order = cuda::Order::kOverlap};
  cuda::launch(normal_noise_kernel, config, stream, p);
}

}  // namespace saccade::ops::detail
