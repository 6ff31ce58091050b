#pragma once

#include <cstdint>

// Conversions between element types, one instruction each.
namespace saccade::cuda::ptx {

/// Two values in e4m3, the lower in the lower byte: nearest even, saturating at 448.
__device__ inline std::uint32_t e4m3_pair(float low, float high) {
  std::uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
}

/// Two values in f16, the lower in the lower half: nearest even, saturating at 65504. NaN stays NaN.
__device__ inline std::uint32_t f16_pair(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/// Two e4m3 in the lower 16 bits, as f16: exact.
__device__ inline std::uint32_t widened_pair(std::uint32_t e4m3_pair) {
  std::uint32_t result;
  asm("{.reg .b16 low, high; mov.b32 {low, high}, %1; cvt.rn.f16x2.e4m3x2 %0, low;}"
      : "=r"(result)
      : "r"(e4m3_pair));
  return result;
}

}  // namespace saccade::cuda::ptx
