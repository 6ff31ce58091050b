#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/stage_errors.h"
#include "saccade/policy.h"

namespace saccade {

struct FidelityOptions {
  LoadOptions load;                     // its precision is the one that is judged
  Precision against = Precision::kF32;  // what it is compared with
  std::filesystem::path observations;   // a directory; empty: seeded ones are made up
  std::optional<int> count;             // observations; else 4, or all but at most 16 of those
                                        // in the directory
  std::uint64_t seed = 0;               // of made-up ones
};

/// How a stage differs from the same in the other precision, over all observations.
struct StageFidelity {
  std::string stage;  // "kv.3.k"
  ErrorSums errors = {};
  ValueCounts counts = {};                 // in the precision that is judged
  std::uint64_t reference_non_finite = 0;  // in the other
};

/// What the towers multiply between the stages, all layers together, in the precision that is
/// judged: activations, or the scales of those in e4m3.
struct InsideCounts {
  std::string name;  // "prefix hidden scales"
  ValueCounts counts = {};
};

/// How one column of the actions differs, in physical units.
struct JointError {
  std::string name;  // the checkpoint's, or "action 3"
  double max_abs = 0;
  double rms = 0;
  double span = 0;  // from the smallest to the largest value of the reference
};

struct FidelityReport {
  PolicyInfo info;  // in the precision that is judged
  Precisions against;
  int observations = 0;
  int available = 0;                  // in the directory
  std::vector<StageFidelity> stages;  // in the order of computation; last the actions, normalised
  std::vector<InsideCounts> inside;
  std::vector<JointError> joints;  // empty when actions are not finite
  std::vector<std::string> warnings;

  /// Relative Euclidean error of the normalised actions.
  double action_error() const { return stages.back().errors.relative(); }
};

/// Runs a checkpoint in two precisions, one after the other, on the same observations and noise,
/// each as a user would: errors add up over the steps. Only one policy is in memory at a time.
FidelityReport fidelity(const std::filesystem::path& checkpoint, const FidelityOptions&);

}  // namespace saccade
