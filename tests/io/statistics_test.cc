#include "io/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "io/json.h"
#include "io/safetensors.h"
#include "temp_files.h"

namespace saccade::io {
namespace {

namespace fs = std::filesystem;

Statistics parse(const std::string& features) {
  return parse_norm_stats("{\"norm_stats\":" + features + "}", "file");
}

std::string parse_error(const std::string& features) {
  return error_of([&] { parse(features); });
}

TEST(NormStats, ReadsTheStateAndTheActions) {
  const Statistics statistics =
      parse(R"({"state":{"mean":[1,-2.5],"std":[0,3],"q01":null,"count":[7]},)"
            R"("actions":{"q01":[-1e300],"q99":[18446744073709551615]},"other":{"mean":[1]}})");
  EXPECT_EQ(statistics.size(), 3u);
  const FeatureStatistics& state = statistics.at(kStateFeature);
  EXPECT_EQ(state.size(), 2u);
  EXPECT_EQ(state.at("mean"), (std::vector<double>{1, -2.5}));
  EXPECT_EQ(state.at("std"), (std::vector<double>{0, 3}));
  EXPECT_EQ(statistics.at(kActionFeature).at("q99"), std::vector<double>{18446744073709551616.0});
  EXPECT_EQ(parse("{}").size(), 0u);
}

TEST(NormStats, RefusesOtherShapesOfJson) {
  EXPECT_TRUE(contains(error_of([] { parse_norm_stats("", "f"); }), "[f] this is not valid JSON"));
  EXPECT_EQ(error_of([] { parse_norm_stats("[]", "f"); }),
            "[f] the file must hold a JSON object, got array");
  EXPECT_EQ(error_of([] { parse_norm_stats("{\"state\":{}}", "f"); }),
            "[f] norm_stats must be an object, got nothing");
  EXPECT_EQ(parse_error("{\"state\":null}"), "[file] norm_stats.state must be an object, got null");
  EXPECT_EQ(parse_error("{\"state\":[1]}"),
            "[file] norm_stats.state must hold a JSON object, got array");
  for (const char* bad : {"1", "\"1\"", "[\"1\"]", "[1,null]", "[[1]]", "[true]", "[]", "{}"}) {
    EXPECT_TRUE(contains(
        parse_error("{\"state\":{\"mean\":" + std::string(bad) + "}}"),
        "[file] norm_stats.state.mean must be a list of numbers, got " + std::string(bad)));
  }
  EXPECT_EQ(parse_error(R"({"state":{"mean":[1]},"observation.state":{"mean":[1]}})"),
            "[file] the feature 'observation.state' is there under two names");
}

TEST(NormStats, RefusesUnsoundVectors) {
  EXPECT_EQ(parse_error(R"({"state":{"mean":[1,2],"std":[1]}})"),
            "[file] observation.state.std has 1 values, mean has 2");
  EXPECT_EQ(parse_error(R"({"actions":{"std":[1,-1e-9]}})"),
            "[file] action.std holds the negative value -1e-09");
  EXPECT_TRUE(contains(parse_error(R"({"actions":{"std":[NaN]}})"), "this is not valid JSON"));
  EXPECT_TRUE(contains(parse_error(R"({"actions":{"std":[1e999]}})"), "out of range"));
  EXPECT_TRUE(contains(parse_error(R"({"state":{},"state":{}})"), "'state' is there twice"));
}

/// Writes tensors of doubles, each in the type that is asked for.
class LerobotStatistics : public ::testing::Test {
 protected:
  struct Tensor {
    std::string name;
    FileDType dtype;
    std::vector<std::int64_t> extents;
    std::vector<double> values;
  };

  fs::path write(const std::vector<Tensor>& tensors) const {
    std::vector<WeightInfo> infos;
    for (const Tensor& t : tensors) infos.push_back({t.name, t.dtype, t.extents});
    const fs::path path = directory_.path() / "statistics.safetensors";
    write_safetensors(path, {}, infos, [&](const WeightInfo& info, const ByteSink& sink) {
      for (const Tensor& t : tensors) {
        if (t.name != info.name) continue;
        for (double value : t.values) {
          const auto narrow = static_cast<float>(value);
          const std::uint64_t bits = 0;
          if (t.dtype == FileDType::kF64) sink(std::as_bytes(std::span(&value, 1)));
          if (t.dtype == FileDType::kF32) sink(std::as_bytes(std::span(&narrow, 1)));
          if (t.dtype == FileDType::kI64) sink(std::as_bytes(std::span(&bits, 1)));
          if (t.dtype == FileDType::kF16) sink(std::as_bytes(std::span(&bits, 1)).first(2));
        }
      }
    });
    return path;
  }

  std::string error(const std::vector<Tensor>& tensors) const {
    return error_of([&] { read_lerobot_statistics(write(tensors)); });
  }

  const TempDirectory directory_;
};

TEST_F(LerobotStatistics, AreFlattenedAndWidened) {
  const Statistics statistics = read_lerobot_statistics(
      write({{"action.mean", FileDType::kF64, {1, 2}, {0.1, 2}},
             {"action.std", FileDType::kF32, {2, 1, 1}, {0.1, 4}},
             {"action.count", FileDType::kI64, {1}, {9}},
             {"action.unknown", FileDType::kF32, {3}, {1, 2, 3}},
             {"nothing", FileDType::kF32, {1}, {1}},
             {"observation.state.min", FileDType::kF32, {}, {-7}},
             {"observation.images.top.mean", FileDType::kF32, {3, 1, 1}, {1, 2, 3}},
             {"observation.images.top.std", FileDType::kF32, {1}, {-1}}}));
  EXPECT_EQ(statistics.at("action").size(), 2u);
  EXPECT_EQ(statistics.at("action").at("mean"), (std::vector<double>{0.1, 2}));
  EXPECT_EQ(statistics.at("action").at("std"), (std::vector<double>{double(0.1f), 4}));
  EXPECT_EQ(statistics.at("observation.state").at("min"), std::vector<double>{-7});
  EXPECT_EQ(statistics.at("observation.images.top").size(), 2u);
  EXPECT_EQ(statistics.size(), 3u);
}

TEST_F(LerobotStatistics, MustBeSound) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(contains(error({{"action.mean", FileDType::kF32, {1}, {nan}}}),
                       "action.mean holds a value of nan"));
  EXPECT_TRUE(
      contains(error({{"observation.state.q99", FileDType::kF64, {1}, {-std::pow(10.0, 400)}}}),
               "observation.state.q99 holds a value of -inf"));
  EXPECT_TRUE(contains(error({{"action.mean", FileDType::kF32, {0}, {}}}), "action.mean is empty"));
  EXPECT_TRUE(contains(error({{"action.mean", FileDType::kF32, {1}, {1}},
                              {"action.std", FileDType::kF32, {2}, {1, 1}}}),
                       "action.std has 2 values, mean has 1"));
  EXPECT_TRUE(contains(error({{"action.std", FileDType::kF32, {1}, {-1}}}), "negative value -1"));
  EXPECT_TRUE(contains(error({{"action.std", FileDType::kF16, {1}, {1}}}),
                       "'action.std' is of type F16, statistics must be F32 or F64"));
}

TEST_F(LerobotStatistics, MayLieInsideAnOldModelFile) {
  const std::vector<Tensor> tensors = {
      {"normalize_inputs.buffer_observation_state.mean", FileDType::kF32, {1}, {1}},
      {"normalize_inputs.buffer_observation_state.std", FileDType::kF32, {1}, {2}},
      {"normalize_targets.buffer_action.mean", FileDType::kF32, {1}, {3}},
      {"unnormalize_outputs.buffer_action.mean", FileDType::kF32, {1}, {4}},
      {"model.state_proj.bias", FileDType::kF32, {1}, {5}}};
  const Statistics statistics = read_legacy_statistics(write(tensors));
  EXPECT_EQ(statistics.size(), 2u);
  EXPECT_EQ(statistics.at(kStateFeature).at("std"), std::vector<double>{2});
  EXPECT_EQ(statistics.at(kActionFeature), (FeatureStatistics{{"mean", {4}}}));
  EXPECT_TRUE(read_legacy_statistics(write({tensors[4]})).empty());
}

TEST(NormalizationNames, RoundTrip) {
  for (const char* name : {"IDENTITY", "MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10"}) {
    EXPECT_STREQ(name_of(parse_normalization(name, "f")), name);
  }
  EXPECT_EQ(error_of([] { parse_normalization("mean_std", "f"); }),
            "[f] the normalisation 'mean_std' is not known");
}

class ScalingTest : public ::testing::Test {
 protected:
  const FeatureStatistics statistics_ = {{"mean", {1}}, {"std", {0.1}}, {"min", {2}}, {"max", {5}},
                                         {"q01", {3}},  {"q99", {3}},   {"q10", {1}}, {"q90", {2}}};

  Scaling make(Normalization kind, bool openpi, Direction direction, double eps = 1e-3,
               bool single = false) const {
    return scaling(kind, statistics_, eps, openpi, direction, single, "state");
  }
};

TEST_F(ScalingTest, TreatsEpsAsEachReferenceDoes) {
  using enum Normalization;
  using enum Direction;
  for (Direction direction : {kForward, kInverse}) {
    EXPECT_EQ(make(kMeanStd, true, direction).range[0], 0.1 + 1e-3);
    EXPECT_EQ(make(kQuantiles, true, direction).range[0], 1e-3);
    EXPECT_EQ(make(kQuantiles, false, direction).range[0], 1e-3);
    EXPECT_EQ(make(kMinMax, false, direction).range[0], 3);
    EXPECT_EQ(make(kQuantile10, false, direction).range[0], 1);
  }
  EXPECT_EQ(make(kMeanStd, false, kForward).range[0], 0.1 + 1e-3);
  EXPECT_EQ(make(kMeanStd, false, kInverse).range[0], 0.1);
  EXPECT_EQ(make(kMeanStd, false, kForward, 1e-3, true).range[0], 0.1f + 1e-3f);
  EXPECT_NE(make(kMeanStd, false, kForward, 1e-3, true).range[0], 0.1 + 1e-3);
  EXPECT_EQ(make(kMeanStd, false, kForward).gain, 1);
  EXPECT_EQ(make(kMeanStd, false, kForward).bias, 0);
  EXPECT_EQ(make(kMinMax, false, kForward).gain, 2);
  EXPECT_EQ(make(kMinMax, false, kForward).bias, -1);
  EXPECT_EQ(make(kMinMax, false, kForward).center, std::vector<double>{2});
  EXPECT_TRUE(make(kIdentity, true, kForward).center.empty());
}

TEST_F(ScalingTest, RefusesWhatCannotBeComputed) {
  using enum Normalization;
  using enum Direction;
  EXPECT_EQ(error_of([&] { make(kMinMax, true, kForward); }),
            "[state] openpi has no MIN_MAX normalisation");
  EXPECT_EQ(error_of([&] { make(kQuantiles, false, kForward, 0); }),
            "[state] value 0 has a range of 0");
  EXPECT_EQ(error_of([&] { make(kQuantiles, false, kInverse, 0); }), "no error");
  EXPECT_EQ(error_of([&] {
              scaling(kMeanStd, {{"mean", {1}}}, 0, true, kForward, false, "a");
            }),
            "[a] MEAN_STD normalisation needs std, which the statistics do not have");
  EXPECT_EQ(error_of([&] {
              scaling(kMeanStd, {{"mean", {1}}, {"std", {1, 2}}}, 0, true, kForward, false, "a");
            }),
            "[a] mean has 1 values, std has 2");
  const FeatureStatistics huge = {{"min", {-1e308}}, {"max", {1e308}}};
  EXPECT_EQ(error_of([&] { scaling(kMinMax, huge, 0, false, kForward, false, "a"); }),
            "[a] value 0 has statistics that are too large");
}

FeatureStatistics statistics_in(const Json& json) {
  FeatureStatistics statistics;
  for (const auto& [name, values] : json.items()) {
    statistics[name] = values.get<std::vector<double>>();
  }
  return statistics;
}

/// What the references themselves computed, with their own arithmetic.
template <typename T>
void compare_with_reference(const std::string& file, bool openpi) {
  int compared = 0;
  for (const Json& c : read_json(SACCADE_GOLDEN "/processors/" + file)) {
    const auto kind = parse_normalization(c.at("mode").get<std::string>(), file);
    if (kind == Normalization::kIdentity || !c.contains("normalised_state")) continue;
    const double eps = c.at("eps").get<double>();
    const Scaling forward = scaling(kind, statistics_in(c.at("state_statistics")), eps, openpi,
                                    Direction::kForward, !openpi, "state");
    const auto state = c.at("state").get<std::vector<double>>();
    const auto want = c.at("normalised_state").get<std::vector<double>>();
    ASSERT_LE(state.size(), forward.center.size());
    for (std::size_t i = 0; i < want.size(); ++i, ++compared) {
      const T centered = T(state[i]) - T(forward.center[i]);
      const T got = T(centered / T(forward.range[i])) * T(forward.gain) + T(forward.bias);
      EXPECT_NEAR(got, want[i], 4 * std::numeric_limits<T>::epsilon() * (1 + std::abs(want[i])))
          << file << ' ' << name_of(kind) << ' ' << i;
    }
  }
  EXPECT_GT(compared, 20);
}

TEST(Scaling, AgreesWithOpenpi) {
  compare_with_reference<double>("openpi_normalisation.json", true);
}

TEST(Scaling, AgreesWithLerobot) {
  compare_with_reference<float>("lerobot_normalisation.json", false);
}

}  // namespace
}  // namespace saccade::io
