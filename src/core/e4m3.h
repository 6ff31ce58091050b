#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/bf16.h"

namespace saccade {

constexpr float kE4m3Max = 448;

inline float to_float(e4m3 value) {
  const std::uint32_t sign = std::uint32_t(value.bits & 0x80u) << 24;
  const std::uint32_t exponent = (value.bits >> 3) & 0xfu;
  const std::uint32_t mantissa = value.bits & 7u;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent == 0) {
    const float magnitude = float(mantissa) * 0x1p-9f;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 120) << 23 | mantissa << 20);
}

/// Rounds to nearest even; beyond the largest finite value, 448, it saturates.
template <>
inline e4m3 from_float<e4m3>(float value) {
  if (value != value) return {0x7f};
  const auto sign = std::uint8_t(std::bit_cast<std::uint32_t>(value) >> 24 & 0x80u);
  const float magnitude = std::min(std::fabs(value), kE4m3Max);
  if (magnitude < 0x1p-6f) {  // subnormal: a multiple of 2^-9, which the sum rounds to
    const float shifted = magnitude + 0x1p14f;
    return {std::uint8_t(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x46800000u))};
  }
  const auto bits = std::bit_cast<std::uint32_t>(magnitude) - (120u << 23);
  return {std::uint8_t(sign | (bits + 0x7ffff + (bits >> 20 & 1)) >> 20)};
}

}  // namespace saccade
