#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "cuda/ptx/convert.cuh"
#include "saccade/tensor.h"

// f32 arithmetic on device elements whose type is known at run time only.
namespace saccade::ops::detail {

/// f16 saturates at its largest finite value, as e4m3 does.
__device__ inline __half saturated_half(float value) {
  return __ushort_as_half(static_cast<unsigned short>(cuda::ptx::f16_pair(value, 0.0f)));
}

template <typename T>
__device__ inline T from_f32(float value) {
  if constexpr (sizeof(T) == 4)
    return value;
  else if constexpr (std::is_same_v<T, __half>)
    return saturated_half(value);
  else if constexpr (std::is_same_v<T, __nv_fp8_e4m3>)
    return __nv_fp8_e4m3(value);
  else
    return __float2bfloat16_rn(value);
}

__device__ inline float load_element(const void* data, DType dtype, std::int64_t index) {
  if (dtype == DType::kF32) return static_cast<const float*>(data)[index];
  if (dtype == DType::kF16) return __half2float(static_cast<const __half*>(data)[index]);
  if (dtype == DType::kE4m3) return float(static_cast<const __nv_fp8_e4m3*>(data)[index]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[index]);
}

__device__ inline void store_element(void* data, DType dtype, std::int64_t index, float value) {
  if (dtype == DType::kF32) {
    static_cast<float*>(data)[index] = value;
  } else if (dtype == DType::kF16) {
    static_cast<__half*>(data)[index] = saturated_half(value);
  } else if (dtype == DType::kE4m3) {
    static_cast<__nv_fp8_e4m3*>(data)[index] = __nv_fp8_e4m3(value);
  } else {
    static_cast<__nv_bfloat16*>(data)[index] = __float2bfloat16_rn(value);
  }
}

/// Two neighbours, the lower in the lower half.
__device__ inline std::uint32_t packed_pair(DType dtype, float low, float high) {
  if (dtype == DType::kF16) return cuda::ptx::f16_pair(low, high);
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

/// Elements index and index + 1; index is even and data aligned to the pair.
__device__ inline float2 load_pair(const void* data, DType dtype, std::int64_t index) {
  if (dtype == DType::kF32) {
    return *reinterpret_cast<const float2*>(static_cast<const float*>(data) + index);
  }
  if (dtype == DType::kF16) {
    return __half22float2(
        *reinterpret_cast<const __half2*>(static_cast<const __half*>(data) + index));
  }
  return __bfloat1622float2(
      *reinterpret_cast<const __nv_bfloat162*>(static_cast<const __nv_bfloat16*>(data) + index));
}

__device__ inline void store_pair(void* data, DType dtype, std::int64_t index, float low,
                                  float high) {
  if (dtype == DType::kF32) {
    *reinterpret_cast<float2*>(static_cast<float*>(data) + index) = make_float2(low, high);
  } else {
    *reinterpret_cast<std::uint32_t*>(static_cast<std::uint16_t*>(data) + index) =
        packed_pair(dtype, low, high);
  }
}

}  // namespace saccade::ops::detail
