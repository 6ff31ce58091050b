#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/bf16.h"
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

}  // namespace
}  // namespace saccade
