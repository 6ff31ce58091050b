#pragma once

#include "ops/device_elements.cuh"
#include "ops/gemm/gemm.h"

// What every CUDA gemm does to a product.
namespace saccade::ops::detail {

__device__ inline float silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

/// With (1 + tanh(u)) / 2 written as 1 / (1 + exp(-2 u)), which does not cancel for negative u.
__device__ inline float gelu(float x) {
  return __fdividef(x, 1.0f + __expf(-1.59576912f * (x + 0.044715f * x * x * x)));
}

__device__ inline float activate(Activation activation, float x) {
  if (activation == Activation::kGelu) return gelu(x);
  if (activation == Activation::kSilu) return silu(x);
  return x;
}

/// 1 / rms of a row whose squares add up to `sum`.
__device__ inline float norm_factor_of(const GemmParams& p, float sum) {
  return rsqrtf(__fdividef(sum, float(p.k)) + p.norm_eps);
}

/// 1 / rms of a row whose squares a producer summed in parts; their number is a multiple of 4.
__device__ inline float norm_factor(const GemmParams& p, int row) {
  if (!p.norm_squares) return 1.0f;
  const auto* parts =
      reinterpret_cast<const float4*>(p.norm_squares + std::int64_t(row) * p.norm_parts);
  float sum = 0;
#pragma unroll 4
  for (int i = 0; i < p.norm_parts / 4; ++i) {
    const float4 four = parts[i];
    sum += (four.x + four.y) + (four.z + four.w);
  }
  return norm_factor_of(p, sum);
}

/// 1 / rms of the tokens from `first_token` on, by one warp.
template <int kTokens>
__device__ void fetch_factors(const GemmParams& p, int first_token, float (&factor)[kTokens]) {
  static_assert(kTokens <= 32);
  const int lane = threadIdx.x % 32;
  if (lane < kTokens && first_token + lane < p.m) factor[lane] = norm_factor(p, first_token + lane);
}

}  // namespace saccade::ops::detail
