#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/policy_config.h"
#include "runtime/engine.h"
#include "runtime/features.h"
#include "runtime/runner.h"
#include "saccade/policy.h"

namespace saccade {

/// A policy before any weight is read.
struct PolicyPlan {
  io::CheckpointFiles files;  // of a checkpoint
  io::PolicyConfig config;
  EngineOptions options;
  Blueprint blueprint;
  std::optional<double> auto_precision;  // LoadOptions::auto_precision: still to be decided
  std::vector<std::string> notes;        // of PolicyInfo
};

/// Opens a checkpoint. All that can be refused about it is refused here.
PolicyPlan plan_policy(const std::filesystem::path& checkpoint, const LoadOptions&);

/// A model of published dims with random weights, which needs no file. The options that name files
/// must be left alone.
PolicyPlan plan_synthetic_policy(Model, int views, const LoadOptions&);

/// The same plan in another precision, which is then decided.
PolicyPlan with_precision(const PolicyPlan&, const Precisions&);

/// A policy behind its tokenizer: frames, tokens and state to actions.
struct LoadedPolicy {
  /// Decides the precision first, where the plan leaves it open.
  explicit LoadedPolicy(PolicyPlan);

  /// Writes all that an inference reads. Takes frames and noise, or its seed, from the observation.
  void write_inputs(const Observation&, const PreparedState&, std::span<const int> tokens);

  /// Runs what was written.
  void run(std::span<const int> tokens, std::vector<StageTime>& times);

  /// The actions, normalised: the columns that a robot is given, row by row.
  std::vector<float> normalized_actions() const;

  /// The actions in physical units.
  std::vector<float> read_actions(const PreparedState&) const;

  io::PolicyConfig config;
  Engine engine;
  Runner runner;
  PolicyInfo info;

 private:
  struct Decided {
    PolicyPlan plan;
  };
  explicit LoadedPolicy(Decided);

  void write_tokens(std::span<const int>);
  void write_state(std::span<const double> normalized_state);
  void write_realtime(const Observation&, const PreparedState&);
  void check_noise(const Observation&) const;
  void write_noise(const Observation&);
};

}  // namespace saccade
