#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "saccade/policy.h"

namespace saccade {

/// How one stage compares with the reference.
struct StageError {
  std::string stage;      // "kv.3.k", as the reference file names it
  double max_abs = 0;     // largest |ours - reference|
  double relative = 0;    // |ours - reference| / |reference|, Euclidean
  double yardstick = -1;  // relative error of the yardstick file, -1 without one
  bool computed = true;   // false: the stage is dropped on purpose, and `note` says why
  bool passed = true;
  std::string note;
};

struct VerifyOptions {
  LoadOptions load;
  std::filesystem::path reference;  // as tests/golden/README.md describes
  std::filesystem::path yardstick;  // same inputs run by the reference in lower precision
  std::optional<double> rtol;       // on `relative`, without a yardstick; else 1e-4 on the CPU and
                                    // 1e-3 on a GPU
  double yardstick_factor = 1.5;    // on `relative` over the yardstick's, with one; where the
                                    // yardstick is exact, rtol holds
};

struct VerifyReport {
  PolicyInfo info;
  double rtol = 0;                 // that was applied
  std::vector<StageError> stages;  // in the order of computation
  bool passed = true;
};

/// Runs the inputs of a reference file and compares each stage that the file holds. The
/// reference's x of each step is fed into that step, so that errors do not add up; `actions`
/// comes from an undisturbed run of all steps.
VerifyReport verify(const std::filesystem::path& checkpoint, const VerifyOptions&);

}  // namespace saccade
