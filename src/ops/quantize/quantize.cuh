#pragma once

#include "core/e4m3.h"
#include "cuda/ptx/mma.cuh"
#include "ops/device_elements.cuh"
#include "ops/quantize/quantize.h"

// The scales of e4m3, on the device.
namespace saccade::ops::detail {

/// The larger magnitude of two values, of which `a` is one already; NaN where either is.
__device__ inline float larger_magnitude(float a, float b) {
  return cuda::ptx::max_nan(a, fabsf(b));
}

/// Of kLanes neighbouring lanes, for all of them.
template <int kLanes = 32>
__device__ inline float largest_of_lanes(float largest) {
#pragma unroll
  for (int lane = kLanes / 2; lane > 0; lane /= 2) {
    largest = larger_magnitude(largest, __shfl_xor_sync(~0u, largest, lane));
  }
  return largest;
}

/// Its reciprocal, also the approximate one that takes subnormal numbers for zero, is finite.
__device__ inline float scale_of(float largest) {
  const float scale = largest * (1 / kE4m3Max);
  return scale < kSmallestScale ? 1.0f : scale;
}

/// Stores neighbours in e4m3, at once where they are a multiple of four and aligned to their bytes.
template <int kCount>
__device__ inline void store_e4m3(void* to, const float (&values)[kCount]) {
  if constexpr (kCount % 4 == 0) {
    struct alignas(kCount) {
      std::uint32_t words[kCount / 4];
    } packed;
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 four = make_float4(values[i], values[i + 1], values[i + 2], values[i + 3]);
      packed.words[i / 4] = __nv_fp8x4_e4m3(four).__x;
    }
    *static_cast<decltype(packed)*>(to) = packed;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      static_cast<__nv_fp8_e4m3*>(to)[i] = __nv_fp8_e4m3(values[i]);
    }
  }
}

}  // namespace saccade::ops::detail
