#include "runtime/synth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <stdexcept>

#include "core/bf16.h"
#include "io/safetensors.h"
#include "runtime/synth_files.h"
#include "runtime/synth_random.h"
#include "runtime/synth_tensors.h"
#include "saccade/error.h"

namespace saccade {
namespace {

namespace fs = std::filesystem;

std::uint64_t parameters(Model model, SynthSize size) {
  std::uint64_t sum = 0;
  for (const SynthTensor& tensor : synth_tensors(model, size)) {
    sum += static_cast<std::uint64_t>(tensor.info.size());
  }
  return sum;
}

TEST(SynthTensors, FullSizeHasThePublishedNumberOfParameters) {
  // Millions in the published checkpoints without the unused head of the expert.
  EXPECT_EQ(parameters(Model::kPi0, SynthSize::kFull) / 1'000'000, 3238U);
  EXPECT_EQ(parameters(Model::kPi05, SynthSize::kFull) / 1'000'000, 3353U);
}

class SynthGolden : public ::testing::TestWithParam<std::pair<Model, const char*>> {};

TEST_P(SynthGolden, TinyHasTheTensorsOfTheReferenceCheckpoint) {
  const auto& [model, folder] = GetParam();
  const io::SafetensorsFile golden(fs::path(SACCADE_GOLDEN) / folder / "model.safetensors");
  std::map<std::string, std::vector<std::int64_t>> expected;
  for (const auto& [name, entry] : golden.entries()) expected[name] = entry.info.extents;
  // The reference wrote the head that openpi's files hold and nobody uses.
  ASSERT_EQ(expected.erase("model.paligemma_with_expert.gemma_expert.lm_head.weight"), 1U);
  std::map<std::string, std::vector<std::int64_t>> ours;
  for (const SynthTensor& tensor : synth_tensors(model, SynthSize::kTiny)) {
    ours["model." + tensor.info.name] = tensor.info.extents;
  }
  EXPECT_EQ(ours, expected);
}

INSTANTIATE_TEST_SUITE_P(Models, SynthGolden,
                         ::testing::Values(std::pair{Model::kPi0, "pi0_lerobot"},
                                           std::pair{Model::kPi05, "pi05_lerobot"}),
                         [](const auto& info) { return std::string(name_of(info.param.first)); });

TEST(RandomTensor, IsNearlyNormal) {
  std::vector<float> values(1 << 20);
  RandomTensor(3, "some.weight", 2.0F, 0.5F).fill(0, std::span(values));
  double mean = 0;
  double square = 0;
  double product = 0;  // of neighbours, 0 when they do not depend on each other
  float previous = 2;
  for (const float value : values) {
    mean += value - 2;
    square += (value - 2) * (value - 2);
    product += (value - 2) * (previous - 2);
    previous = value;
    ASSERT_LE(std::abs(value - 2), 3.5F * 0.5F);
  }
  const auto count = static_cast<double>(values.size());
  EXPECT_NEAR(mean / count, 0, 0.002);
  EXPECT_NEAR(std::sqrt(square / count), 0.5, 0.002);
  EXPECT_NEAR(product / count, 0, 0.001);
}

TEST(RandomTensor, AnyPieceIsThatOfTheWhole) {
  const RandomTensor random(1, "w", 0, 1);
  std::array<bf16, 101> whole;
  std::array<bf16, 37> piece;
  random.fill(0, std::span(whole));
  random.fill(29, std::span(piece));
  EXPECT_EQ(std::memcmp(piece.data(), whole.data() + 29, sizeof(piece)), 0);
  std::array<float, 101> single;
  random.fill(0, std::span(single));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(whole[i].bits, from_float<bf16>(single[i]).bits);
  }
}

TEST(RandomTensor, SeedAndNameDecide) {
  std::set<float> firsts;
  for (const std::uint64_t seed : {0, 1, 2}) {
    for (const char* name : {"a", "b", "ab", ""}) {
      float value = 0;
      RandomTensor(seed, name, 0, 1).fill(0, std::span(&value, 1));
      firsts.insert(value);
    }
  }
  EXPECT_EQ(firsts.size(), 12U);
}

class SynthFiles : public ::testing::Test {
 protected:
  fs::path root_ =
      fs::path(::testing::TempDir()) /
      ("synth_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
  void SetUp() override { fs::remove_all(root_); }
  void TearDown() override { fs::remove_all(root_); }
};

TEST_F(SynthFiles, ReportsProgressUpToTheEnd) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> reports;
  SynthOptions options;
  options.progress = [&](std::string_view, std::uint64_t done, std::uint64_t total) {
    reports.emplace_back(done, total);
  };
  synthesize_checkpoint(root_, options);
  ASSERT_FALSE(reports.empty());
  EXPECT_EQ(reports.back().first, reports.back().second);
  EXPECT_TRUE(std::is_sorted(reports.begin(), reports.end()));
}

TEST_F(SynthFiles, WhatIsInterruptedIsRemoved) {
  SynthOptions options;
  options.layout = SynthLayout::kOpenpi;
  options.progress = [](std::string_view, std::uint64_t done, std::uint64_t total) {
    if (done > total / 2) throw std::runtime_error("stop");
  };
  EXPECT_THROW(synthesize_checkpoint(root_, options), std::runtime_error);
  EXPECT_FALSE(fs::exists(root_));

  fs::create_directory(root_);
  EXPECT_THROW(synthesize_checkpoint(root_, options), std::runtime_error);
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(SynthFiles, ForeignFilesAreLeftAlone) {
  fs::create_directory(root_);
  std::ofstream(root_ / "notes.txt") << "mine";
  EXPECT_THROW(synthesize_checkpoint(root_, {}), InvalidArgument);
  EXPECT_TRUE(fs::exists(root_ / "notes.txt"));
  EXPECT_FALSE(fs::exists(root_ / "config.json"));
}

TEST_F(SynthFiles, StatisticsFilesAgreeWithEachOther) {
  SynthOptions options;
  options.seed = 9;
  synthesize_checkpoint(root_, options);
  const io::Statistics expected = synth_statistics(9);
  for (const std::string& name : synth_statistics_files(options)) {
    EXPECT_EQ(io::read_lerobot_statistics(root_ / name), expected) << name;
  }
  for (const auto& [feature, values] : expected) {
    for (std::size_t i = 0; i < std::size_t(kSynthDim); ++i) {
      double previous = -INFINITY;
      for (const char* name : {"min", "q01", "q10", "q50", "q90", "q99", "max"}) {
        EXPECT_GT(values.at(name)[i], previous) << feature << " " << name;
        previous = values.at(name)[i];
      }
      EXPECT_GT(values.at("std")[i], 0.1);
    }
  }
}

}  // namespace
}  // namespace saccade
