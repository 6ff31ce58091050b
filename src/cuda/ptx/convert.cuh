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

/// Byte i of the result is byte n of `value`, or, for n from 8 on, eight copies of the sign of its
/// byte n - 8, where n is the i-th hexadecimal digit of `selector` from the right.
template <std::uint32_t kSelector>
__device__ inline std::uint32_t permute_bytes(std::uint32_t value) {
  std::uint32_t result;
  asm("prmt.b32 %0, %1, 0, %2;" : "=r"(result) : "r"(value), "n"(kSelector));
  return result;
}

}  // namespace saccade::cuda::ptx
