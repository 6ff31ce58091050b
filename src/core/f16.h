#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace saccade {

/// IEEE half precision, which checkpoints may use and ops do not.
struct f16 {
  std::uint16_t bits = 0;
};

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

}  // namespace saccade
