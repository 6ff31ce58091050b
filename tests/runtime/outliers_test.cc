#include "runtime/outliers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "core/e4m3.h"
#include "crc32.h"
#include "io/safetensors.h"
#include "io/temp_files.h"
#include "runtime/loaded_policy.h"
#include "runtime/synth.h"
#include "runtime/synth_tensors.h"

namespace saccade {
namespace {

namespace fs = std::filesystem;
using Channels = std::vector<std::int64_t>;

const std::string kPrefixLayer = "paligemma_with_expert.paligemma.model.language_model.layers.3.";
const std::string kTokens = "paligemma_with_expert.paligemma.lm_head.weight";

OutlierScaling scaling_of(const std::string& name, std::vector<std::int64_t> extents,
                          std::uint64_t seed = 0) {
  return outlier_scaling(Model::kPi05, name, extents, seed);
}

TEST(OutlierScaling, TakesOneChannelOf512TheSameInAllLayers) {
  const std::string down = kPrefixLayer + "mlp.down_proj.weight";
  const Channels channels = scaling_of(down, {2048, 16384}).rows;
  EXPECT_EQ(channels.size(), 4u);
  EXPECT_EQ(std::set(channels.begin(), channels.end()).size(), 4u);
  EXPECT_GE(channels.front(), 0);
  EXPECT_LT(channels.back(), 2048);
  std::string other = kPrefixLayer;
  other.replace(other.find("layers.3"), 8, "layers.17");
  EXPECT_EQ(scaling_of(other + "self_attn.o_proj.weight", {2048, 2048}).rows, channels);
  EXPECT_EQ(scaling_of(other + "self_attn.k_proj.weight", {256, 2048}).columns, channels);
  EXPECT_EQ(scaling_of(kTokens, {257152, 2048}).columns, channels);
  EXPECT_NE(scaling_of(down, {2048, 16384}, 1).rows, channels);
  EXPECT_EQ(scaling_of(down, {64, 128}).rows.size(), 1u);
}

TEST(OutlierScaling, WhatWritesAChannelIsScaledUpAndWhatReadsItDown) {
  const OutlierScaling up = scaling_of(kPrefixLayer + "mlp.up_proj.weight", {16384, 2048});
  EXPECT_EQ(up.rows.size(), 32u);
  EXPECT_EQ(up.row_factor, kOutlierGain);
  EXPECT_EQ(up.columns.size(), 4u);
  EXPECT_EQ(up.column_factor, kOutlierReadGain);
  EXPECT_EQ(scaling_of(kPrefixLayer + "mlp.down_proj.weight", {2048, 16384}).columns, up.rows);
  EXPECT_FALSE(scaling_of(kPrefixLayer + "input_layernorm.weight", {2048}));
  EXPECT_EQ(scaling_of(kTokens, {512, 2048}).column_factor, kOutlierGain);
}

TEST(OutlierScaling, AnyPieceIsScaledAsTheWholeIs) {
  const OutlierScaling scaling{
      .rows = {1, 4}, .columns = {0, 2}, .row_factor = 32, .column_factor = 0.25f};
  std::vector<float> whole(15, 1);  // [5, 3]
  scaling.apply(3, 0, std::span(whole));
  EXPECT_EQ(whole, (std::vector<float>{.25, 1, .25, 8, 32, 8, .25, 1, .25, .25, 1, .25, 8, 32, 8}));
  for (std::int64_t first = 0; first < 15; ++first) {
    for (std::int64_t size = 1; first + size <= 15; ++size) {
      std::vector<float> piece(std::size_t(size), 1);
      scaling.apply(3, first, std::span(piece));
      EXPECT_TRUE(std::equal(piece.begin(), piece.end(), whole.begin() + first));
    }
  }
}

class Outliers : public ::testing::TestWithParam<std::tuple<Model, SynthLayout>> {
 protected:
  Outliers() {
    std::tie(options_.model, options_.layout) = GetParam();
    options_.seed = 3;
    synthesize_checkpoint(plain_, options_);
    options_.outliers = true;
    synthesize_checkpoint(outliers_, options_);
  }

  SynthOptions options_;
  io::TempDirectory directory_;
  fs::path plain_ = directory_.path() / "plain";
  fs::path outliers_ = directory_.path() / "outliers";
};

/// The stages of one inference, in f32, and their extents.
struct Stage {
  int rows = 0;
  int channels = 0;
  std::vector<float> values;
};

std::map<std::string, Stage> run(const fs::path& checkpoint, int tokens) {
  LoadOptions load;
  load.device = Device::kCpu;
  LoadedPolicy policy(plan_policy(checkpoint, load));
  std::vector<std::uint8_t> pixels(48 * 64 * 3);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = std::uint8_t(i * 31 % 251);
  Observation observation;
  for (const std::string& camera : policy.info.cameras) {
    observation.frames[camera] = {pixels.data(), 48, 64};
  }
  observation.state.assign(14, 0.1);
  std::vector<int> ids;
  for (int i = 0; i < tokens; ++i) ids.push_back(37 * i % 512);
  policy.write_inputs(
      observation, prepare_state(policy.config, observation.state, policy.info.max_state_dim), ids);
  std::map<std::string, Stage> stages;
  const auto keep = [&](const std::string& name, Tensor t) {
    stages[name] = {t.shape[0],
                    int(t.shape.size() / t.shape[0]),
                    {t.as<float>(), t.as<float>() + t.shape.size()}};
  };
  policy.runner.run_probed(tokens, keep);
  keep("actions", policy.engine.host_inputs.x);
  return stages;
}

std::vector<double> channel_rms(const Stage& stage) {
  std::vector<double> rms(std::size_t(stage.channels));
  for (std::size_t i = 0; i < stage.values.size(); ++i) {
    rms[i % rms.size()] += stage.values[i] * stage.values[i] / stage.rows;
  }
  for (double& value : rms) value = std::sqrt(value);
  return rms;
}

/// How many times as large as the middle one the largest channel is, and the one behind it.
std::pair<double, double> largest_channels(const Stage& stage) {
  std::vector<double> rms = channel_rms(stage);
  std::sort(rms.begin(), rms.end());
  const double middle = rms[rms.size() / 2];
  return {rms[rms.size() - 1] / middle, rms[rms.size() - 2] / middle};
}

TEST_P(Outliers, AreInTheActivationsOfEveryStream) {
  const auto plain = run(plain_, 40);
  const auto with = run(outliers_, 40);
  for (const char* name : {"vision.0", "prefix.embs", "step.0.suffix_in", "step.9.suffix_out"}) {
    SCOPED_TRACE(name);
    EXPECT_LT(largest_channels(plain.at(name)).first, 5);
    const auto [outlier, next] = largest_channels(with.at(name));
    // A few rows tell a deviation of 32 only roughly.
    EXPECT_GT(outlier, 10);
    EXPECT_LT(outlier, 90);
    EXPECT_LT(next, 5);
  }
  const std::vector<double> rms = channel_rms(with.at("prefix.embs"));
  EXPECT_GT(largest_channels(with.at("prefix.embs")).first, 24);
  EXPECT_LT(largest_channels(with.at("prefix.embs")).first, 42);
  const auto largest = std::max_element(rms.begin(), rms.end()) - rms.begin();
  EXPECT_EQ(scaling_of(kTokens, {512, 64}, options_.seed).columns, Channels{largest});
}

TEST_P(Outliers, LeaveActionsOfOrderOneThatDependOnTheInputs) {
  const auto with = run(outliers_, 40);
  const auto other = run(outliers_, 39);
  double square = 0;
  double change = 0;
  const std::vector<float>& actions = with.at("actions").values;
  for (std::size_t i = 0; i < actions.size(); ++i) {
    ASSERT_TRUE(std::isfinite(actions[i]));
    square += actions[i] * actions[i];
    const double difference = actions[i] - other.at("actions").values[i];
    change += difference * difference;
  }
  const double rms = std::sqrt(square / double(actions.size()));
  EXPECT_GT(rms, 0.1);
  EXPECT_LT(rms, 10);
  EXPECT_GT(std::sqrt(change / square), 1e-5);
}

TEST_P(Outliers, OfAFileChangeNothingElse) {
  const io::SafetensorsFile plain(plain_ / "model.safetensors");
  const io::SafetensorsFile with(outliers_ / "model.safetensors");
  const std::string prefix = options_.layout == SynthLayout::kLerobot ? "model." : "";
  int scaled_tensors = 0;
  for (const SynthTensor& tensor : synth_tensors(options_.model, options_.size)) {
    const std::string name = prefix + tensor.info.name;
    const auto before = plain.bytes(plain.entry(name));
    const auto after = with.bytes(with.entry(name));
    std::vector<std::byte> expected(before.begin(), before.end());
    const OutlierScaling scaling =
        outlier_scaling(options_.model, tensor.info.name, tensor.info.extents, options_.seed);
    const std::int64_t row_size = tensor.info.size() / tensor.info.extents[0];
    const auto size = std::size_t(tensor.info.size());
    if (tensor.info.dtype == io::FileDType::kBf16) {
      scaling.apply(row_size, 0, std::span(reinterpret_cast<bf16*>(expected.data()), size));
    } else {
      scaling.apply(row_size, 0, std::span(reinterpret_cast<float*>(expected.data()), size));
    }
    EXPECT_TRUE(std::ranges::equal(expected, after)) << name;
    EXPECT_EQ(std::ranges::equal(before, after), !scaling) << name;
    scaled_tensors += bool(scaling);
  }
  EXPECT_GT(scaled_tensors, 40);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Outliers,
                         ::testing::Combine(::testing::Values(Model::kPi0, Model::kPi05),
                                            ::testing::Values(SynthLayout::kLerobot,
                                                              SynthLayout::kOpenpi)),
                         [](const auto& info) {
                           return std::string(name_of(std::get<0>(info.param))) +
                                  (std::get<1>(info.param) == SynthLayout::kLerobot ? "_lerobot"
                                                                                    : "_openpi");
                         });

TEST(SynthBytes, AreThoseOfEarlierReleasesWithoutOutliers) {
  for (const auto& [model, crc] :
       {std::pair{Model::kPi0, 0x315a677fu}, std::pair{Model::kPi05, 0xea486585u}}) {
    io::TempDirectory directory;
    SynthOptions options;
    options.model = model;
    options.seed = 3;
    synthesize_checkpoint(directory.path() / "policy", options);
    const std::string file = io::read_file(directory.path() / "policy" / "model.safetensors");
    EXPECT_EQ(testing::crc32({reinterpret_cast<const std::uint8_t*>(file.data()), file.size()}),
              crc)
        << name_of(model);
  }
}

TEST(AddOutliers, ScalesStackedPiecesOfEveryType) {
  const std::string at = kPrefixLayer + "mlp.";
  for (const DType type : {DType::kF32, DType::kBf16, DType::kE4m3}) {
    std::vector<float> storage(12 * 6, 0);
    std::vector<float> scales(12, 2);
    ops::ScaledMatrix weight;
    models::WeightList list;
    const std::vector<models::WeightPiece> pieces{{at + "gate_proj.weight", {4, 6}},
                                                  {at + "up_proj.weight", {8, 6}}};
    type == DType::kE4m3 ? list.scaled(weight, pieces) : list.matrix(weight.values, pieces);
    weight.values = {storage.data(), {12, 6}, type, Device::kCpu};
    if (type == DType::kE4m3) weight.scales = {scales.data(), {1, 12}, DType::kF32, Device::kCpu};
    const auto value = [&](int i) {
      if (type == DType::kF32) return weight.values.as<float>()[i];
      if (type == DType::kBf16) return to_float(weight.values.as<bf16>()[i]);
      return to_float(weight.values.as<e4m3>()[i]) * scales[std::size_t(i / 6)];
    };
    for (int i = 0; i < 72; ++i) {
      if (type == DType::kF32) weight.values.as<float>()[i] = 2;
      if (type == DType::kBf16) weight.values.as<bf16>()[i] = from_float<bf16>(2);
      if (type == DType::kE4m3) weight.values.as<e4m3>()[i] = from_float<e4m3>(1);
    }
    add_outliers(Model::kPi05, list, Stream{});
    const auto scaling = scaling_of(at + "up_proj.weight", {8, 6});
    for (int i = 0; i < 72; ++i) {
      float expected = i % 6 == scaling.columns[0] ? 0.5f : 2.0f;
      if (i / 6 == 4 + scaling.rows[0]) expected *= kOutlierGain;
      EXPECT_EQ(value(i), expected) << saccade::name_of(type) << " " << i;
    }
  }
}

}  // namespace
}  // namespace saccade
