#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/bench_policy.h"
#include "runtime/floor.h"
#include "runtime/replays.h"
#include "saccade/policy.h"

namespace saccade {

struct BenchOptions {
  BenchCase of;
  int replays = 300;
  std::optional<int> inferences;  // else 2000 on a GPU, 10 on the CPU
};

/// One part of an inference.
struct PartReport {
  std::string name;  // "vision", "prefix", "steps"
  double p50_ms = 0;
  Work floor;
  int kernels = 0;  // on a GPU
};

/// The first inference with another prompt, against the following ones with the same.
struct NewPrompt {
  int tokens = 0;
  double first_ms = 0;  // median of several changes
  double usual_ms = 0;
};

/// What only a GPU has to report.
struct GpuReport {
  GpuInfo gpu;
  Spread replay;
  bool same_bits = true;  // of all replays and inferences
  int kernels = 0;
  int overlapping_edges = 0;
  std::uint64_t policy_bytes = 0;  // device memory that the policy took
  std::uint64_t used_bytes = 0;    // all that is taken, with the driver's context
  std::uint64_t allocations = 0;   // while it was measured
  std::uint64_t recorded_graphs = 0;
  int clock_before_mhz = 0;  // 0: not known
  int clock_during_mhz = 0;
  int clock_after_mhz = 0;
  std::optional<NewPrompt> same_graph;   // absent where every other prompt takes another graph
  std::optional<NewPrompt> other_graph;  // absent where every prompt takes the same
};

struct BenchReport {
  PolicyInfo policy;
  int views = 0;
  int prompt_tokens = 0;
  bool outliers = false;  // in random weights
  int frame_height = 0;
  int frame_width = 0;
  Spread wall;  // host frames to host actions
  std::vector<PartReport> parts;
  double load_ms = 0;          // from the call to a policy that is ready
  double first_action_ms = 0;  // from the start of the process
  std::optional<GpuReport> gpu;
};

/// Loads a policy and measures it. Fails when an action comes out that is not finite.
BenchReport bench(const BenchOptions&);

}  // namespace saccade
