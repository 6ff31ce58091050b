#include "runtime/features.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/temp_files.h"
#include "runtime/aloha.h"

namespace saccade {
namespace {

using io::FeatureNormalization;
using io::PolicyConfig;
using nlohmann::json;

json golden(const std::string& name) {
  std::ifstream file(std::string(SACCADE_GOLDEN) + "/processors/" + name + ".json");
  return json::parse(file);
}

FeatureNormalization normalization(const json& entry, const char* statistics) {
  FeatureNormalization feature;
  feature.kind = io::parse_normalization(entry["mode"].get<std::string>(), "golden");
  feature.eps = entry["eps"];
  feature.statistics = entry[statistics].get<io::FeatureStatistics>();
  return feature;
}

PolicyConfig config_of(const json& entry, Mode mode) {
  PolicyConfig config;
  config.mode = mode;
  config.state = normalization(entry, "state_statistics");
  config.actions = normalization(entry, "action_statistics");
  return config;
}

PolicyConfig identity(Mode mode) {
  PolicyConfig config;
  config.mode = mode;
  config.state = FeatureNormalization{};
  config.actions = FeatureNormalization{};
  return config;
}

std::vector<float> flat(const json& rows) {
  std::vector<float> values;
  for (const json& row : rows) {
    for (const json& value : row) values.push_back(value);
  }
  return values;
}

/// To a few ulps of f32 at the size of each value, or of its column's statistics: the goldens'
/// normalised actions are f64, a model's are f32.
void expect_close(const std::vector<float>& got, const std::vector<float>& want,
                  const io::FeatureStatistics& statistics = {}) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    double size = std::max(1.0, std::abs(double(want[i])));
    for (const auto& [name, values] : statistics) {
      size = std::max(size, std::abs(values[i % values.size()]));
    }
    EXPECT_NEAR(got[i], want[i], 3e-7 * size) << "value " << i;
  }
}

TEST(Features, LerobotNormalisesToTheBit) {
  for (const json& entry : golden("lerobot_normalisation")) {
    const PolicyConfig config = config_of(entry, Mode::kLerobot);
    const std::vector<double> state = entry["state"];
    const PreparedState prepared = prepare_state(config, state, 0);
    for (std::size_t i = 0; i < state.size(); ++i) {
      EXPECT_EQ(float(prepared.normalized[i]), entry["normalised_state"][i].get<float>())
          << entry["mode"] << " value " << i;
    }
  }
}

TEST(Features, OpenpiNormalisesToTheBit) {
  for (const json& entry : golden("openpi_normalisation")) {
    const PolicyConfig config = config_of(entry, Mode::kOpenpi);
    const std::vector<double> state = entry["state"];
    if (entry.contains("state_error")) {
      EXPECT_THROW(prepare_state(config, state, 0), InvalidArgument);
      continue;
    }
    const PreparedState prepared = prepare_state(config, state, 0);
    for (std::size_t i = 0; i < state.size(); ++i) {
      EXPECT_EQ(prepared.normalized[i], entry["normalised_state"][i].get<double>())
          << entry["mode"] << " value " << i;
    }
  }
}

TEST(Features, ActionsGoBackToPhysicalUnits) {
  for (const Mode mode : {Mode::kLerobot, Mode::kOpenpi}) {
    for (const json& entry : golden(std::string(name_of(mode)) + "_normalisation")) {
      if (entry.contains("actions_error")) continue;
      const PolicyConfig config = config_of(entry, mode);
      const auto normalized = flat(entry["normalised_actions"]);
      const auto actions = flat(entry["actions"]);
      const int rows = int(entry["actions"].size());
      const int padded = int(normalized.size()) / rows;
      const int columns = action_columns(config, padded);
      const auto got = finish_actions(config, normalized, rows, padded, {});
      std::vector<float> want;
      for (int row = 0; row < rows; ++row) {
        for (int i = 0; i < columns; ++i) {
          want.push_back(
              actions[std::size_t(row) * (actions.size() / std::size_t(rows)) + std::size_t(i)]);
        }
      }
      expect_close(got, want, config.actions->statistics);
    }
  }
}

TEST(Features, RelativeActionsAreAddedToTheState) {
  for (const Mode mode : {Mode::kLerobot, Mode::kOpenpi}) {
    const bool lerobot = mode == Mode::kLerobot;
    for (const json& entry : golden(lerobot ? "lerobot_relative" : "openpi_delta")) {
      PolicyConfig config = identity(mode);
      config.relative_actions = entry["mask"].get<std::vector<bool>>();
      const std::vector<double> state = entry["state"];
      const auto relative = flat(entry["actions"]);
      const int rows = int(entry["actions"].size());
      const int columns = int(relative.size()) / rows;
      expect_close(finish_actions(config, relative, rows, columns, state), flat(entry["absolute"]));
    }
  }
}

TEST(Features, AlohaJointsAreAdaptedBothWays) {
  for (const json& entry : golden("openpi_aloha")) {
    PolicyConfig config = identity(Mode::kOpenpi);
    config.aloha_joints = true;
    const std::vector<double> state = entry["state"];
    const PreparedState prepared = prepare_state(config, state, 32);
    for (std::size_t i = 0; i < state.size(); ++i) {
      EXPECT_NEAR(prepared.raw[i], entry["pi_state"][i].get<double>(), 1e-14);
    }
    const int rows = int(entry["actions"].size());
    expect_close(finish_actions(config, flat(entry["actions"]), rows, kAlohaJoints, prepared.raw),
                 flat(entry["aloha_actions"]));
  }
}

TEST(Features, AFalseStateIsNamed) {
  PolicyConfig config = identity(Mode::kLerobot);
  config.state_dim = 3;
  const std::vector<double> nan{1, std::nan(""), 2};
  EXPECT_EQ(io::error_of([&] { prepare_state(config, nan, 32); }),
            "[infer] state value 1 is not finite");
  const std::vector<double> shorter{1, 2};
  EXPECT_EQ(io::error_of([&] { prepare_state(config, shorter, 32); }),
            "[infer] the state has 2 values, the policy takes 3");
  EXPECT_EQ(io::error_of([&] { prepare_state(config, {}, 32); }), "[infer] the state is empty");
  config.state_dim.reset();
  EXPECT_EQ(io::error_of([&] { prepare_state(config, std::vector<double>(33, 0.0), 32); }),
            "[infer] the state has 33 values, the policy takes at most 32");
  config.aloha_joints = true;
  EXPECT_NE(io::error_of([&] { prepare_state(config, shorter, 32); }).find("ALOHA"),
            std::string::npos);
}

TEST(Features, AbsentStatisticsAreNamed) {
  PolicyConfig config;
  config.statistics_error = "assets holds none";
  const std::vector<double> state{0};
  EXPECT_NE(io::error_of([&] { prepare_state(config, state, 32); }).find("assets holds none"),
            std::string::npos);
  EXPECT_NE(io::error_of([&] { finish_actions(config, {}, 0, 32, {}); }).find("assets holds none"),
            std::string::npos);
}

TEST(Features, ActionsThatAreNotFiniteAreRefused) {
  const PolicyConfig config = identity(Mode::kLerobot);
  const std::vector<float> actions{0, 1, 2, std::numeric_limits<float>::infinity()};
  EXPECT_EQ(io::error_of([&] { finish_actions(config, actions, 2, 2, {}); }),
            "[infer] action 1 value 1 is not finite");
}

}  // namespace
}  // namespace saccade
