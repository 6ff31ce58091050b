#pragma once

#include "ops/device_elements.cuh"
#include "ops/gemm/gemm.h"

// What every CUDA gemm does to a product.
namespace saccade::ops::detail {

__device__ inline float silu(float x) { return x / (1.0f + __expf(-x)); }

/// With (1 + tanh(u)) / 2 written as 1 / (1 + exp(-2 u)), which does not cancel for negative u.
__device__ inline float gelu(float x) {
  return x / (1.0f + __expf(-1.59576912f * (x + 0.044715f * x * x * x)));
}

__device__ inline float activate(Activation activation, float x) {
  if (activation == Activation::kGelu) return gelu(x);
  if (activation == Activation::kSilu) return silu(x);
  return x;
}

/// 1 / rms of a row whose squares a producer summed in parts.
__device__ inline float norm_factor(const GemmParams& p, int row) {
  if (!p.norm_squares) return 1.0f;
  const float* parts = p.norm_squares + std::int64_t(row) * p.norm_parts;
  float sum = 0;
  for (int i = 0; i < p.norm_parts; ++i) sum += parts[i];
  return rsqrtf(sum / float(p.k) + p.norm_eps);
}

}  // namespace saccade::ops::detail
