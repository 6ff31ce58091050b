// What the cases of an op cannot say: published vectors, statistics, and values of PyTorch.

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/philox.h"
#include "saccade/ops/activation.h"
#include "saccade/ops/attention.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/quantize.h"
#include "saccade/ops/rope.h"
#include "saccade/ops/sample.h"

namespace saccade::testing {
namespace {

using Words = std::array<std::uint32_t, 4>;

// The known answers of Random123's kat_vectors.
TEST(Philox, MatchesThePublishedVectors) {
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

Tensor tensor(std::vector<float>& values) {
  return {values.data(), {int(values.size())}, DType::kF32, Device::kCpu};
}

TEST(NormalNoise, IsStandardNormal) {
  std::vector<float> noise(1 << 20);
  ops::normal_noise({}, 42, 0, 1, tensor(noise));
  double mean = 0, square = 0, fourth = 0, product = 0;
  for (std::size_t i = 0; i < noise.size(); ++i) {
    ASSERT_TRUE(std::isfinite(noise[i]));
    mean += noise[i];
    square += std::pow(noise[i], 2);
    fourth += std::pow(noise[i], 4);
    product += double(noise[i]) * noise[i ^ 1];
  }
  const double count = double(noise.size());
  const double sigma = 1 / std::sqrt(count);
  EXPECT_LT(std::abs(mean / count), 5 * sigma);
  EXPECT_LT(std::abs(square / count - 1), 5 * std::sqrt(2) * sigma);
  EXPECT_LT(std::abs(fourth / count - 3), 5 * std::sqrt(96) * sigma);
  EXPECT_LT(std::abs(product / count), 5 * std::sqrt(2) * sigma);
}

// The radius comes from a word; the smallest word is the one whose logarithm could be infinite.
TEST(NormalNoise, AZeroWordGivesTheLargestRadius) {
  constexpr std::uint32_t kSeed = 1836991927;
  ASSERT_EQ(philox4x32({0, 0, 0, 0}, {kSeed, 0})[0], 0u);
  std::vector<float> noise(2);
  ops::normal_noise({}, kSeed, 0, 1, tensor(noise));
  EXPECT_FLOAT_EQ(std::hypot(noise[0], noise[1]), std::sqrt(-2 * std::log(0x1p-33)));
}

TEST(NormalNoise, AValueDependsOnItsIndexAndTheSeedOnly) {
  std::vector<float> three(3), many(1001), other(1001);
  ops::normal_noise({}, 7, 0, 1, tensor(three));
  ops::normal_noise({}, 7, 0, 1, tensor(many));
  ops::normal_noise({}, 7 + (std::uint64_t{1} << 32), 0, 1, tensor(other));
  for (std::size_t i = 0; i < three.size(); ++i) EXPECT_EQ(three[i], many[i]);
  for (std::size_t i = 0; i < many.size(); ++i) EXPECT_NE(many[i], other[i]);
}

TEST(Activation, KeepsNanAndSaturates) {
  std::vector<float> x{std::nanf(""), 1000, -1000, 0};
  for (auto* function : {ops::silu, ops::gelu}) {
    std::vector<float> out(x.size());
    function({}, tensor(x), tensor(out));
    EXPECT_TRUE(std::isnan(out[0]));
    EXPECT_EQ(out[1], 1000);
    EXPECT_NEAR(out[2], 0, 1e-30);
    EXPECT_EQ(out[3], 0);
  }
}

// What a step does where nothing is to be continued.
TEST(Gemm, GuidanceOfWeightZeroChangesNoBit) {
  constexpr int kRows = 5, kColumns = 7;
  std::vector<float> x(kRows * 12, 0.0f), weight(kColumns * 12), residual(kRows * kColumns, -0.0f);
  std::vector<float> target(residual.size(), std::nanf("")), weights(kRows, 0.0f);
  std::vector<float> gate(kColumns, -0.1f);
  for (std::size_t i = 12; i < x.size(); ++i) x[i] = std::sin(float(i));  // row 0 ends as -0
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = std::cos(float(i));
  std::vector<float> plain(residual.size()), guided(residual.size());
  const auto run = [&](std::vector<float>& out, ops::Guidance guidance) {
    const Shape shape{kRows, kColumns};
    ops::gemm(
        {}, tensor(x).reshaped({kRows, 12}), tensor(weight).reshaped({kColumns, 12}),
        {.gate = tensor(gate), .residual = tensor(residual).reshaped(shape), .guidance = guidance},
        tensor(out).reshaped(shape));
  };
  run(plain, {});
  EXPECT_TRUE(std::signbit(plain[0]));
  run(guided, {tensor(target).reshaped({kRows, kColumns}), tensor(weights), 0.5f});
  EXPECT_EQ(std::memcmp(plain.data(), guided.data(), plain.size() * sizeof(float)), 0);
}

// A key that one row sees and another does not must reach the first only.
TEST(Attention, ANanKeyReachesOnlyTheRowsThatSeeIt) {
  std::vector<float> q{1, 1, 1}, k{1, 2, std::nanf("")}, v{3, 5, std::nanf("")}, out(3);
  std::vector<std::int32_t> visible{2, 3, 2};
  const auto rank3 = [](std::vector<float>& values) {
    return tensor(values).reshaped({int(values.size()), 1, 1});
  };
  ops::attention({}, rank3(q), rank3(k), rank3(v), {visible.data(), {3}, DType::kI32, Device::kCpu},
                 1, tensor(out).reshaped({3, 1}));
  EXPECT_FLOAT_EQ(out[0], (3 + 5 * std::exp(1.0f)) / (1 + std::exp(1.0f)));
  EXPECT_TRUE(std::isnan(out[1]));
  EXPECT_EQ(out[2], out[0]);
}

// The reciprocal of a smaller scale is infinite: it would turn zeros into NaN.
TEST(Quantize, TheSmallestValuesAreZerosOfScaleOne) {
  std::vector<float> x{0, 1e-44f, -1e-36f}, scales(1);
  std::vector<e4m3> values(3);
  ops::quantize(
      {}, tensor(x).reshaped({1, 3}),
      {{values.data(), {1, 3}, DType::kE4m3, Device::kCpu}, tensor(scales).reshaped({1, 1})});
  EXPECT_EQ(scales[0], 1);
  for (const e4m3& value : values) EXPECT_EQ(value.bits % 128, 0);
}

// torch 2.11: inverse = 1 / 10000 ** (arange(0, 256, 2).float() / 256), (position * inverse).cos().
TEST(RopeTable, MatchesPyTorch) {
  struct Entry {
    int position, i;
    float cosine, sine;
  };
  std::vector<float> table(1024 * 256);
  ops::rope_table(10000, tensor(table).reshaped({1024, 256}));
  for (const auto& [position, i, cosine, sine] :
       {Entry{1, 1, 0.5973753333091736f, 0.8019617795944214f},
        Entry{815, 0, -0.24090053141117096f, -0.9705498218536377f},
        Entry{815, 3, -0.98582923412323f, -0.16775205731391907f},
        Entry{815, 100, 0.8189808130264282f, 0.573820948600769f},
        Entry{1023, 64, -0.692951500415802f, -0.7209842205047607f}}) {
    const float* row = table.data() + position * 256;
    EXPECT_FLOAT_EQ(row[i], cosine) << position << ", " << i;
    EXPECT_FLOAT_EQ(row[128 + i], sine) << position << ", " << i;
  }
}

}  // namespace
}  // namespace saccade::testing
