#include "runtime/realtime.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "io/temp_files.h"
#include "runtime/aloha.h"
#include "runtime/features.h"
#include "runtime/synth.h"

namespace saccade {
namespace {

namespace fs = std::filesystem;

RealTime realtime_of(int rows, int delay, int horizon, Schedule schedule) {
  RealTime realtime;
  realtime.rows = rows;
  realtime.inference_delay = delay;
  realtime.execution_horizon = horizon;
  realtime.schedule = schedule;
  return realtime;
}

// LeRobot 0.6.2: RTCProcessor.get_prefix_weights(delay, min(horizon, rows), 8).
TEST(RowWeights, AreLeRobots) {
  struct Case {
    RealTime realtime;
    std::array<double, 8> expected;
  };
  const std::vector<Case> cases{
      {realtime_of(8, 2, 6, Schedule::kLinear), {1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0}},
      {realtime_of(5, 0, 10, Schedule::kLinear),
       {0.8333333, 0.6666666, 0.5, 0.3333333, 0.1666667, 0, 0, 0}},
      {realtime_of(3, 3, 4, Schedule::kLinear), {1, 1, 1, 0, 0, 0, 0, 0}},
      {realtime_of(8, 7, 8, Schedule::kLinear), {1, 1, 1, 1, 1, 1, 1, 0.5}},
      {realtime_of(2, 4, 6, Schedule::kLinear), {1, 1, 0, 0, 0, 0, 0, 0}},
      {realtime_of(8, 2, 6, Schedule::kExp),
       {1, 1, 0.570589, 0.2870724, 0.1144922, 0.02577025, 0, 0}},
      {realtime_of(5, 0, 10, Schedule::kExp),
       {0.630948, 0.367706, 0.1887703, 0.07674575, 0.01759126, 0, 0, 0}},
      {realtime_of(3, 3, 4, Schedule::kExp), {1, 1, 1, 0, 0, 0, 0, 0}},
      {realtime_of(8, 7, 8, Schedule::kExp), {1, 1, 1, 1, 1, 1, 1, 0.1887703}},
      {realtime_of(2, 4, 6, Schedule::kExp), {1, 1, 0, 0, 0, 0, 0, 0}},
      {realtime_of(8, 2, 6, Schedule::kOnes), {1, 1, 1, 1, 1, 1, 0, 0}},
      {realtime_of(5, 0, 10, Schedule::kOnes), {1, 1, 1, 1, 1, 0, 0, 0}},
      {realtime_of(3, 3, 4, Schedule::kOnes), {1, 1, 1, 0, 0, 0, 0, 0}},
      {realtime_of(8, 7, 8, Schedule::kOnes), {1, 1, 1, 1, 1, 1, 1, 1}},
      {realtime_of(2, 4, 6, Schedule::kOnes), {1, 1, 0, 0, 0, 0, 0, 0}},
      {realtime_of(8, 2, 6, Schedule::kZeros), {1, 1, 0, 0, 0, 0, 0, 0}},
      {realtime_of(5, 0, 10, Schedule::kZeros), {0, 0, 0, 0, 0, 0, 0, 0}},
      {realtime_of(3, 3, 4, Schedule::kZeros), {1, 1, 1, 0, 0, 0, 0, 0}},
      {realtime_of(8, 7, 8, Schedule::kZeros), {1, 1, 1, 1, 1, 1, 1, 0}},
      {realtime_of(2, 4, 6, Schedule::kZeros), {1, 1, 0, 0, 0, 0, 0, 0}},
  };
  for (const auto& [realtime, expected] : cases) {
    const std::vector<double> weights = row_weights(realtime, 8);
    for (std::size_t row = 0; row < 8; ++row) {
      EXPECT_NEAR(weights[row], expected[row], 1e-6)
          << "row " << row << " of " << realtime.rows << ", " << realtime.inference_delay << ", "
          << realtime.execution_horizon << ", " << int(realtime.schedule);
    }
  }
}

TEST(RowWeights, AChunkOfOneActionHasOne) {
  EXPECT_EQ(row_weights(realtime_of(1, 0, 10, Schedule::kOnes), 1), std::vector<double>{1});
  EXPECT_EQ(row_weights(realtime_of(0, 0, 10, Schedule::kOnes), 1), std::vector<double>{0});
}

TEST(GuidanceStrength, IsThatOfThePaper) {
  EXPECT_EQ(guidance_strength(1, 10), 10);
  EXPECT_NEAR(guidance_strength(0.9, 10), 9.1111111, 1e-6);
  EXPECT_NEAR(guidance_strength(0.5, 10), 2, 1e-12);
  EXPECT_NEAR(guidance_strength(0.1, 10), 9.1111111, 1e-6);
  EXPECT_EQ(guidance_strength(0.9, 5), 5);
  EXPECT_EQ(guidance_strength(0, 5), 5);
}

TEST(Schedules, HaveLeRobotsNames) {
  EXPECT_EQ(parse_schedule("linear"), Schedule::kLinear);
  EXPECT_EQ(parse_schedule("exp"), Schedule::kExp);
  EXPECT_EQ(parse_schedule("ones"), Schedule::kOnes);
  EXPECT_EQ(parse_schedule("zeros"), Schedule::kZeros);
  EXPECT_REFUSED(parse_schedule("LINEAR"), "'LINEAR' is not linear, exp, ones or zeros");
}

/// Every way from normalised actions to physical ones.
class ActionsTest : public ::testing::TestWithParam<std::pair<Mode, io::Normalization>> {};

TEST_P(ActionsTest, AreNormalizedAsTheyCame) {
  constexpr int kRows = 3, kColumns = kAlohaJoints, kPadded = 17;
  const auto [mode, kind] = GetParam();
  io::PolicyConfig config;
  config.mode = mode;
  config.action_dim = kColumns;
  config.aloha_joints = mode == Mode::kOpenpi;
  config.relative_actions = {true, true, false, true};
  io::FeatureStatistics statistics;
  for (int i = 0; i < kColumns; ++i) {
    statistics["mean"].push_back(0.1 * i - 0.5);
    statistics["std"].push_back(i == 4 ? 0 : 0.2 + 0.1 * i);
    statistics["q01"].push_back(-1 - 0.1 * i);
    statistics["q99"].push_back(1 + 0.2 * i);
  }
  config.actions = {kind, mode == Mode::kOpenpi ? 1e-6 : 1e-8, statistics};
  const std::vector<double> state{0.3, -0.7, 1.5};
  std::vector<float> normalized(kRows * kPadded, 0.0f);
  for (int row = 0; row < kRows; ++row) {
    for (int i = 0; i < kColumns; ++i) {
      normalized[std::size_t(row * kPadded + i)] = std::sin(float(row * kColumns + i));
    }
  }
  const std::vector<float> physical = finish_actions(config, normalized, kRows, kPadded, state);
  const std::vector<float> back = normalize_actions(config, physical, kPadded, state);
  ASSERT_EQ(back.size(), normalized.size());
  const bool has_constant = kind == io::Normalization::kMeanStd;
  for (std::size_t i = 0; i < back.size(); ++i) {
    if (has_constant && i % kPadded == 4) {
      // Of a constant column openpi's 1e-6 keeps next to nothing, LeRobot's 0 nothing at all.
      EXPECT_NEAR(back[i], mode == Mode::kOpenpi ? normalized[i] : 0.0f, 0.1);
      continue;
    }
    EXPECT_NEAR(back[i], normalized[i], 2e-6) << "value " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Features, ActionsTest,
                         ::testing::Values(std::pair{Mode::kOpenpi, io::Normalization::kMeanStd},
                                           std::pair{Mode::kOpenpi, io::Normalization::kQuantiles},
                                           std::pair{Mode::kLerobot, io::Normalization::kMeanStd},
                                           std::pair{Mode::kLerobot, io::Normalization::kQuantiles},
                                           std::pair{Mode::kLerobot,
                                                     io::Normalization::kIdentity}));

TEST(Actions, BeyondAFloatOnceNormalizedAreNamed) {
  io::PolicyConfig config;
  config.mode = Mode::kLerobot;
  config.actions = {io::Normalization::kMeanStd, 0, {{"mean", {0, 0}}, {"std", {1, 0.01}}}};
  const std::vector<float> actions{1, 1, 1, std::numeric_limits<float>::max()};
  EXPECT_REFUSED(normalize_actions(config, actions, 4, {}),
                 "previous action 1 value 1 is not finite once it is normalised");
}

class RealTimeTest : public ::testing::TestWithParam<std::pair<Model, SynthLayout>> {
 protected:
  RealTimeTest() {
    SynthOptions options;
    std::tie(options.model, options.layout) = GetParam();
    synthesize_checkpoint(directory_.path() / "checkpoint", options);
    LoadOptions load;
    load.device = Device::kCpu;
    policy_.emplace(Policy::load(directory_.path() / "checkpoint", load));
  }

  Observation observe() const {
    Observation observation;
    observation.frames[policy_->info().cameras[0]] = {pixels_.data(), 48, 64};
    observation.state.assign(std::size_t(std::max(policy_->info().state_dim, 14)), 0.25);
    observation.tokens = std::vector<int>{2, 17, 5};
    observation.seed = 7;
    return observation;
  }

  /// The chunk of another seed from row `first` on, as a wish to continue it.
  RealTime continue_from(int first) {
    Observation other = observe();
    other.seed = 8;
    const ActionChunk chunk = policy_->infer(other);
    RealTime realtime;
    realtime.rows = chunk.actions - first;
    realtime.previous.assign(chunk.values.begin() + first * chunk.action_dim, chunk.values.end());
    return realtime;
  }

  double distance(const ActionChunk& chunk, const RealTime& realtime, int row) const {
    double sum = 0;
    for (int i = 0; i < chunk.action_dim; ++i) {
      const auto index = std::size_t(row * chunk.action_dim + i);
      sum += std::pow(double(chunk.values[index]) - realtime.previous[index], 2);
    }
    return std::sqrt(sum);
  }

  io::TempDirectory directory_;
  std::vector<std::uint8_t> pixels_ = std::vector<std::uint8_t>(48 * 64 * 3, 100);
  std::optional<Policy> policy_;
};

TEST_P(RealTimeTest, HeldRowsEndNearThePreviousChunk) {
  Observation observation = observe();
  const ActionChunk plain = policy_->infer(observation);
  observation.realtime = continue_from(2);
  observation.realtime->inference_delay = 2;
  observation.realtime->execution_horizon = 3;
  const ActionChunk guided = policy_->infer(observation);
  for (int row = 0; row < 2; ++row) {
    // The last step alone leaves 1 - 9.11 / 10 of the way.
    EXPECT_LT(distance(guided, *observation.realtime, row),
              0.15 * distance(plain, *observation.realtime, row));
  }
  EXPECT_LT(distance(guided, *observation.realtime, 2),
            0.7 * distance(plain, *observation.realtime, 2));
  EXPECT_EQ(policy_->infer(observation).values, guided.values);
  observation.realtime.reset();
  EXPECT_EQ(policy_->infer(observation).values, plain.values);  // nothing is left behind
}

TEST_P(RealTimeTest, WithoutWeightsNoBitChanges) {
  Observation observation = observe();
  const ActionChunk plain = policy_->infer(observation);
  observation.realtime = continue_from(0);
  observation.realtime->schedule = Schedule::kZeros;  // and no delay
  EXPECT_EQ(policy_->infer(observation).values, plain.values);
  observation.realtime = RealTime{};  // nothing is left of the previous chunk
  observation.realtime->inference_delay = 3;
  EXPECT_EQ(policy_->infer(observation).values, plain.values);
}

TEST_P(RealTimeTest, EveryOptionMatters) {
  Observation observation = observe();
  observation.realtime = continue_from(0);
  observation.realtime->execution_horizon = 4;
  const ActionChunk base = policy_->infer(observation);
  const auto differs = [&](auto change) {
    Observation changed = observation;
    change(*changed.realtime);
    return policy_->infer(changed).values != base.values;
  };
  EXPECT_TRUE(differs([](RealTime& wish) { wish.inference_delay = 1; }));
  EXPECT_TRUE(differs([](RealTime& wish) { wish.execution_horizon = 3; }));
  EXPECT_TRUE(differs([](RealTime& wish) { wish.schedule = Schedule::kExp; }));
  EXPECT_TRUE(differs([](RealTime& wish) { wish.max_weight = 2; }));
  EXPECT_TRUE(differs([](RealTime& wish) { wish.previous[0] += 0.5f; }));
}

TEST_P(RealTimeTest, AFalseWishIsNamed) {
  const RealTime good = continue_from(2);
  const auto expect_refused = [&](auto change, const char* sentence) {
    Observation observation = observe();
    observation.realtime = good;
    change(*observation.realtime);
    EXPECT_REFUSED(policy_->infer(observation), sentence);
  };
  const int chunk = policy_->info().chunk;
  expect_refused([&](RealTime& wish) { wish.inference_delay = chunk; }, "less than the chunk's");
  expect_refused([](RealTime& wish) { wish.inference_delay = -1; }, "the inference delay is -1");
  expect_refused(
      [](RealTime& wish) {
        wish.inference_delay = 3;
        wish.execution_horizon = 2;
      },
      "the inference delay of 3 actions is beyond the execution horizon of 2");
  expect_refused([](RealTime& wish) { wish.execution_horizon = 0; }, "the execution horizon is 0");
  expect_refused([&](RealTime& wish) { wish.rows = chunk + 1; }, "the previous actions have");
  expect_refused([](RealTime& wish) { wish.rows = -1; }, "the previous actions have -1 rows");
  expect_refused([](RealTime& wish) { wish.previous.pop_back(); }, "the previous actions have");
  expect_refused([](RealTime& wish) { wish.previous[1] = std::nanf(""); },
                 "previous action 0 value 1 is not finite");
  expect_refused([](RealTime& wish) { wish.max_weight = 0; }, "the guidance weight is 0");
}

INSTANTIATE_TEST_SUITE_P(Policies, RealTimeTest,
                         ::testing::Values(std::pair{Model::kPi0, SynthLayout::kLerobot},
                                           std::pair{Model::kPi05, SynthLayout::kLerobot},
                                           std::pair{Model::kPi05, SynthLayout::kOpenpi}));

}  // namespace
}  // namespace saccade
