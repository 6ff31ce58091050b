#include "runtime/features.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "io/statistics.h"
#include "runtime/aloha.h"

namespace saccade {
namespace {

using io::Direction;
using io::FeatureNormalization;
using io::Normalization;
using io::PolicyConfig;
using io::Scaling;

const FeatureNormalization& require(const std::optional<FeatureNormalization>& feature,
                                    const char* name, const PolicyConfig& config) {
  SACCADE_CHECK(feature.has_value(), "load", "no statistics of the ", name, ": ",
                config.statistics_error);
  return *feature;
}

Scaling scaling_of(const FeatureNormalization& feature, const PolicyConfig& config,
                   Direction direction, const char* name) {
  const bool openpi = config.mode == Mode::kOpenpi;
  return io::scaling(feature.kind, feature.statistics, feature.eps, openpi, direction, !openpi,
                     name);
}

/// (x - center) / range * gain + bias in the reference's own arithmetic, so that a state on the
/// edge of a bin falls into the reference's bin.
template <typename T>
double normalize(const Scaling& s, std::size_t i, double value) {
  const T centered = T(value) - T(s.center[i]);
  const T scaled = T(centered / T(s.range[i])) * T(s.gain);
  return double(T(scaled + T(s.bias)));
}

template <typename T>
double denormalize(const Scaling& s, std::size_t i, double value) {
  const T unit = T(T(T(value) - T(s.bias)) / T(s.gain));
  return double(T(T(unit * T(s.range[i])) + T(s.center[i])));
}

void check_state(const PolicyConfig& config, std::span<const double> state, int max_state_dim) {
  const int size = int(state.size());
  SACCADE_CHECK(size > 0, "infer", "the state is empty");
  SACCADE_CHECK(!config.state_dim || size == *config.state_dim, "infer", "the state has ", size,
                " values, the policy takes ", config.state_dim.value_or(0));
  SACCADE_CHECK(max_state_dim == 0 || size <= max_state_dim, "infer", "the state has ", size,
                " values, the policy takes at most ", max_state_dim);
  for (std::size_t i = 0; i < state.size(); ++i) {
    SACCADE_CHECK(std::isfinite(state[i]), "infer", "state value ", i, " is not finite");
  }
  SACCADE_CHECK(!config.aloha_joints || size == kAlohaJoints, "infer", "the state has ", size,
                " values, an ALOHA robot has ", kAlohaJoints);
}

/// What un-normalises actions; empty where nothing does.
Scaling action_scaling(const PolicyConfig& config, std::size_t columns) {
  const FeatureNormalization& feature = require(config.actions, "actions", config);
  SACCADE_CHECK(!config.aloha_joints || columns == kAlohaJoints, "infer", "an action has ", columns,
                " values, an ALOHA robot has ", kAlohaJoints);
  if (feature.kind == Normalization::kIdentity) return {};
  Scaling scaling = scaling_of(feature, config, Direction::kInverse, "action");
  SACCADE_CHECK(config.mode == Mode::kOpenpi || scaling.center.size() == columns, "infer",
                "an action has ", columns, " values, its statistics ", scaling.center.size());
  return scaling;
}

/// Whether column i of an action is added to the state.
bool is_relative(const PolicyConfig& config, std::size_t i, std::span<const double> raw_state) {
  return i < config.relative_actions.size() && i < raw_state.size() && config.relative_actions[i];
}

}  // namespace

void check_statistics(const PolicyConfig& config, int max_action_dim) {
  require(config.state, "state", config);
  const FeatureNormalization& actions = require(config.actions, "actions", config);
  for (const auto& [name, values] : actions.statistics) {
    SACCADE_CHECK(int(values.size()) <= max_action_dim, "load", "the statistics of the actions (",
                  name, ") have ", values.size(), " values, the model's actions ", max_action_dim);
  }
}

PreparedState prepare_state(const PolicyConfig& config, std::span<const double> state,
                            int max_state_dim) {
  check_state(config, state, max_state_dim);
  PreparedState prepared;
  prepared.raw.assign(state.begin(), state.end());
  if (config.aloha_joints) aloha_state_to_pi(prepared.raw);

  const FeatureNormalization& feature = require(config.state, "state", config);
  prepared.normalized = prepared.raw;
  if (feature.kind != Normalization::kIdentity) {
    const Scaling scaling = scaling_of(feature, config, Direction::kForward, "observation.state");
    SACCADE_CHECK(scaling.center.size() >= state.size(), "infer", "the state has ", state.size(),
                  " values, its statistics ", scaling.center.size());
    for (std::size_t i = 0; i < state.size(); ++i) {
      double& value = prepared.normalized[i];
      value = config.mode == Mode::kOpenpi ? normalize<double>(scaling, i, value)
                                           : normalize<float>(scaling, i, value);
    }
  }
  for (std::size_t i = 0; i < prepared.normalized.size(); ++i) {
    SACCADE_CHECK(std::isfinite(float(prepared.normalized[i])), "infer", "state value ", i,
                  " is not finite once it is normalised");
  }
  return prepared;
}

int action_columns(const PolicyConfig& config, int max_action_dim) {
  if (config.action_dim) return std::min(*config.action_dim, max_action_dim);
  if (config.actions && !config.actions->statistics.empty()) {
    const auto size = config.actions->statistics.begin()->second.size();
    return std::min(int(size), max_action_dim);
  }
  return max_action_dim;
}

std::vector<float> finish_actions(const PolicyConfig& config, std::span<const float> normalized,
                                  int actions, int max_action_dim,
                                  std::span<const double> raw_state) {
  const auto columns = std::size_t(action_columns(config, max_action_dim));
  const bool openpi = config.mode == Mode::kOpenpi;
  const Scaling scaling = action_scaling(config, columns);
  std::vector<float> values;
  values.reserve(std::size_t(actions) * columns);
  std::vector<double> row(columns);
  for (std::size_t action = 0; action < std::size_t(actions); ++action) {
    for (std::size_t i = 0; i < columns; ++i) {
      row[i] = normalized[action * std::size_t(max_action_dim) + i];
      if (i < scaling.center.size()) {
        row[i] = openpi ? denormalize<double>(scaling, i, row[i])
                        : denormalize<float>(scaling, i, row[i]);
      }
      if (is_relative(config, i, raw_state)) {
        row[i] = openpi ? row[i] + raw_state[i] : float(row[i]) + float(raw_state[i]);
      }
    }
    if (config.aloha_joints) aloha_action_from_pi(row);
    for (double value : row) values.push_back(float(value));
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    SACCADE_CHECK(std::isfinite(values[i]), "infer", "action ", i / columns, " value ", i % columns,
                  " is not finite");
  }
  return values;
}

std::vector<float> normalize_actions(const PolicyConfig& config, std::span<const float> actions,
                                     int max_action_dim, std::span<const double> raw_state) {
  const auto columns = std::size_t(action_columns(config, max_action_dim));
  const bool openpi = config.mode == Mode::kOpenpi;
  const Scaling scaling = action_scaling(config, columns);
  const std::size_t rows = actions.size() / columns;
  std::vector<float> normalized(rows * std::size_t(max_action_dim), 0.0f);
  for (std::size_t action = 0; action < rows; ++action) {
    const auto given = actions.subspan(action * columns, columns);
    std::vector<double> row(given.begin(), given.end());
    if (config.aloha_joints) aloha_action_to_pi(row);
    for (std::size_t i = 0; i < columns; ++i) {
      if (is_relative(config, i, raw_state)) {
        row[i] = openpi ? row[i] - raw_state[i] : float(row[i]) - float(raw_state[i]);
      }
      if (i < scaling.center.size()) {
        // A column without a range is the same whatever the network says.
        row[i] = scaling.range[i] == 0 ? 0
                 : openpi              ? normalize<double>(scaling, i, row[i])
                                       : normalize<float>(scaling, i, row[i]);
      }
      SACCADE_CHECK(std::isfinite(float(row[i])), "infer", "previous action ", action, " value ", i,
                    " is not finite once it is normalised");
      normalized[action * std::size_t(max_action_dim) + i] = float(row[i]);
    }
  }
  return normalized;
}

}  // namespace saccade
