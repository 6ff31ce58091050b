#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "core/bf16.h"
#include "core/e4m3.h"
#include "core/f16.h"

namespace saccade {
namespace {

std::uint16_t rounded(float value) { return from_float<bf16>(value).bits; }

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(rounded(1.0f), 0x3f80);
  EXPECT_EQ(rounded(1.0f + 0x1p-8f), 0x3f80);             // tie, stays even
  EXPECT_EQ(rounded(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);  // above the tie
  EXPECT_EQ(rounded(1.0f + 0x3p-8f), 0x3f82);             // tie, goes to even
  EXPECT_EQ(rounded(-0.0f), 0x8000);
  EXPECT_EQ(rounded(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(rounded(std::numeric_limits<float>::infinity()), 0x7f80);
  EXPECT_TRUE(std::isnan(to_float(from_float<bf16>(std::nanf("")))));
}

TEST(Bf16, EveryValueSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bf16 value{static_cast<std::uint16_t>(bits)};
    const float wide = to_float(value);
    if (std::isnan(wide)) continue;
    ASSERT_EQ(from_float<bf16>(wide).bits, value.bits);
  }
}

TEST(F16, WidensEveryKindOfValue) {
  EXPECT_EQ(to_float(f16{0x3c00}), 1.0f);
  EXPECT_EQ(to_float(f16{0xc000}), -2.0f);
  EXPECT_EQ(to_float(f16{0x7bff}), 65504.0f);
  EXPECT_EQ(to_float(f16{0x0001}), 0x1p-24f);  // smallest subnormal
  EXPECT_EQ(to_float(f16{0x83ff}), -0x3ffp-24f);
  EXPECT_EQ(to_float(f16{0x0400}), 0x1p-14f);
  EXPECT_TRUE(std::signbit(to_float(f16{0x8000})));
  EXPECT_EQ(to_float(f16{0x7c00}), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(to_float(f16{0x7e00})));
}

/// The value of e4m3 bits that are not NaN, by its definition.
double exact_e4m3(int bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return bits < 128 ? magnitude : -magnitude;
}

/// The bits of the nearest e4m3 by comparison with all of them; of two, the even one.
int nearest_e4m3(float value) {
  const int sign = std::signbit(value) ? 128 : 0;
  int nearest = sign;
  for (int bits = sign; bits < sign + 127; ++bits) {
    const double distance = std::abs(exact_e4m3(bits) - value);
    const double least = std::abs(exact_e4m3(nearest) - value);
    if (distance < least || (distance == least && bits % 2 == 0)) nearest = bits;
  }
  return nearest;
}

TEST(E4m3, WidensEveryValue) {
  for (int bits = 0; bits < 256; ++bits) {
    const float wide = to_float(e4m3{std::uint8_t(bits)});
    if (bits % 128 == 127) {
      EXPECT_TRUE(std::isnan(wide)) << bits;
      continue;
    }
    EXPECT_EQ(wide, exact_e4m3(bits)) << bits;
    EXPECT_EQ(std::signbit(wide), bits >= 128) << bits;
    EXPECT_EQ(from_float<e4m3>(wide).bits, bits);
  }
}

TEST(E4m3, RoundsToTheNearest) {
  const auto check = [](float value) {
    EXPECT_EQ(from_float<e4m3>(value).bits, nearest_e4m3(value)) << value;
    EXPECT_EQ(from_float<e4m3>(-value).bits, nearest_e4m3(-value)) << -value;
  };
  for (int bits = 0; bits < 126; ++bits) {  // ties, and what is just beside them
    const auto tie = float((exact_e4m3(bits) + exact_e4m3(bits + 1)) / 2);
    check(tie);
    check(std::nextafter(tie, 0.0f));
    check(std::nextafter(tie, 1000.0f));
  }
  std::mt19937 random(1);
  std::uniform_real_distribution<float> exponent(-14, 9);
  for (int i = 0; i < 10000; ++i) check(std::exp2(exponent(random)));
  for (float tiny : {0.0f, 1e-45f, 1e-38f, 1e-30f}) check(tiny);
}

TEST(E4m3, SaturatesAndKeepsNan) {
  for (float large :
       {448.0f, 449.0f, 464.0f, 480.0f, 1e30f, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(from_float<e4m3>(large).bits, 0x7e) << large;
    EXPECT_EQ(from_float<e4m3>(-large).bits, 0xfe) << large;
  }
  EXPECT_TRUE(std::isnan(to_float(from_float<e4m3>(std::nanf("")))));
  EXPECT_TRUE(std::isnan(to_float(from_float<e4m3>(-std::nanf("")))));
}

}  // namespace
}  // namespace saccade
