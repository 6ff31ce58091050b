#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// The activations' formulas. Without branches and calls, so that loops over them vectorise.
namespace saccade::ops::detail {

/// exp(x) to a relative 1e-7; arguments outside [-87, 87] count as the nearest bound, NaN stays
/// NaN.
inline float fast_exp(float x) {
  constexpr float kBound = 87.0f;
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;  // few bits, so that its multiples are exact
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kToInteger = 12582912.0f;  // 1.5 * 2^23: adding it leaves an integer's bits
  const float magnitude = std::fabs(x);
  x = std::copysign(magnitude > kBound ? kBound : magnitude, x);
  const float shifted = x * kLog2E + kToInteger;
  const float power = shifted - kToInteger;
  const float r = x - power * kLn2High - power * kLn2Low;  // |r| <= ln(2) / 2
  float series = 1 + r * (1.0f / 7);
  series = 1 + r * series * (1.0f / 6);
  series = 1 + r * series * (1.0f / 5);
  series = 1 + r * series * (1.0f / 4);
  series = 1 + r * series * (1.0f / 3);
  series = 1 + r * series * (1.0f / 2);
  series = 1 + r * series;
  return series * std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted) << 23) + 0x3f800000u);
}

inline float silu(float x) { return x / (1 + fast_exp(-x)); }

/// With (1 + tanh(u)) / 2 written as 1 / (1 + exp(-2 u)), which does not cancel for negative u.
inline float gelu(float x) {
  constexpr float kSqrt8OverPi = 1.59576912f;
  return x / (1 + fast_exp(-kSqrt8OverPi * (x + 0.044715f * x * x * x)));
}

}  // namespace saccade::ops::detail
