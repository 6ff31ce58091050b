#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/bf16.h"

namespace saccade {

inline float to_float(f16 value) {
  const std::uint32_t sign = std::uint32_t(value.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (value.bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = value.bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = std::ldexp(float(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t widened = exponent == 31 ? 0x7f800000u : (exponent + 112) << 23;
  return std::bit_cast<float>(sign | widened | (mantissa << 13));
}

/// Rounds to nearest even; beyond the largest finite value, 65504, it saturates.
template <>
inline f16 from_float<f16>(float value) {
  if (value != value) return {0x7fff};
  const auto sign = std::uint16_t(std::bit_cast<std::uint32_t>(value) >> 16 & 0x8000u);
  const float magnitude = std::min(std::fabs(value), 65504.0f);
  if (magnitude < 0x1p-14f) {  // subnormal: a multiple of 2^-24, which the sum rounds to
    const float shifted = magnitude + 0.5f;
    return {std::uint16_t(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u))};
  }
  const auto bits = std::bit_cast<std::uint32_t>(magnitude) - (112u << 23);
  return {std::uint16_t(sign | (bits + 0xfff + (bits >> 13 & 1)) >> 13)};
}

}  // namespace saccade
