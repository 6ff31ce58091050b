#pragma once

#include <span>
#include <vector>

#include "io/policy_config.h"
#include "models/dims.h"

namespace saccade {

/// The robot's state on its way into the network.
struct PreparedState {
  std::vector<double> raw;         // as actions are relative to it: after adapt_to_pi, before
                                   // normalisation
  std::vector<double> normalized;  // as the network or the prompt sees it, unpadded
};

/// Fails with one sentence when the statistics are absent or do not fit the model.
void check_statistics(const io::PolicyConfig&, int max_action_dim);

/// Checks, adapts and normalises a state. LeRobot's arithmetic is f32, openpi's f64.
PreparedState prepare_state(const io::PolicyConfig&, std::span<const double> state,
                            int max_state_dim);

/// Columns of an action that a policy returns.
int action_columns(const io::PolicyConfig&, int max_action_dim);

/// Turns a normalised chunk into physical units: un-normalises, adds the state to relative
/// actions, undoes adapt_to_pi.
///
///   normalized  [actions, max_action_dim]
///   returns     [actions, action_columns()], row-major
std::vector<float> finish_actions(const io::PolicyConfig&, std::span<const float> normalized,
                                  int actions, int max_action_dim,
                                  std::span<const double> raw_state);

/// The inverse, for any rows of actions; columns that they do not have are zeros.
///
///   actions  [rows, action_columns()], row-major
///   returns  [rows, max_action_dim]
std::vector<float> normalize_actions(const io::PolicyConfig&, std::span<const float> actions,
                                     int max_action_dim, std::span<const double> raw_state);

}  // namespace saccade
