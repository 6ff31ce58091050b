// One CTA per patch; a thread moves kWidth neighbouring pixels.

#include "cuda/launch.h"
#include "ops/device_elements.cuh"
#include "ops/image/patch_embedding.h"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 256;

template <int kWidth>
__global__ __launch_bounds__(kThreads) void extract_patches_kernel(
    const __grid_constant__ PatchEmbeddingParams p) {
  cuda::allow_next();
  cuda::wait_for_previous();
  const int side = p.size / p.patch;
  const int top = int(blockIdx.x) / side * p.patch;
  const int left = int(blockIdx.x) % side * p.patch;
  const int area = p.patch * p.patch;
  const std::int64_t token = std::int64_t(blockIdx.y) * gridDim.x + blockIdx.x;
  const float* position = p.position + std::int64_t(blockIdx.x) * p.dim;
#pragma unroll 5
  for (int i = int(threadIdx.x); i < p.dim; i += kThreads) p.out[token * p.dim + i] = position[i];
  for (int i = int(threadIdx.x) * kWidth; i < 3 * area; i += kThreads * kWidth) {
    const int channel = i / area;
    const int y = top + i % area / p.patch;
    const int x = left + i % p.patch;
    const std::int64_t row = (std::int64_t(blockIdx.y) * 3 + channel) * p.size + y;
    const std::int64_t from = row * p.size + x;
    const std::int64_t to = token * p.k + i;
    if constexpr (kWidth == 2) {
      const float2 pair = load_pair(p.pixels, DType::kF32, from);
      store_pair(p.patches, p.patches_type, to, pair.x, pair.y);
    } else {
      store_element(p.patches, p.patches_type, to, p.pixels[from]);
    }
  }
  for (int i = 3 * area + int(threadIdx.x); i < p.k; i += kThreads) {
    store_element(p.patches, p.patches_type, token * p.k + i, 0.0f);
  }
}

}  // namespace

void extract_patches_cuda(const PatchEmbeddingParams& p, cudaStream_t stream) {
  const int side = p.size / p.patch;
  const cuda::Launch config{
      .grid = dim3(side * side, p.views), .block = dim3(kThreads), .order = cuda::Order::kOverlap};
  const bool even = p.patch % 2 == 0 && p.k % 2 == 0;  // then so is the size: pairs are aligned
  cuda::launch(even ? extract_patches_kernel<2> : extract_patches_kernel<1>, config, stream, p);
}

}  // namespace saccade::ops::detail
