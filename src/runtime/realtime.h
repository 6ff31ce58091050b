#pragma once

#include <span>
#include <vector>

#include "io/policy_config.h"
#include "models/pi.h"
#include "saccade/policy.h"

namespace saccade {

/// Checks a wish for real-time chunking against a policy. Fails with one sentence.
void check_realtime(const RealTime&, int chunk, int action_dim);

/// RealTime's weight of each of so many rows.
std::vector<double> row_weights(const RealTime&, int rows);

/// RealTime's strength of a step at `time`.
double guidance_strength(double time, double max_weight);

/// Writes into inputs on the host what makes a chunk continue the previous one.
///
///   previous  [rows, max_action_dim]  normalised; rows behind them count as zeros
///   weights   [chunk]
///   times     of the steps
void write_guidance(const models::Pi::Inputs& on_host, std::span<const float> previous,
                    std::span<const double> weights, std::span<const float> times,
                    double max_weight);

/// Writes that nothing is guided.
void write_no_guidance(const models::Pi::Inputs& on_host);

}  // namespace saccade
