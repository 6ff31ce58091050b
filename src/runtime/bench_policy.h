#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/floor.h"
#include "runtime/loaded_policy.h"
#include "saccade/policy.h"

namespace saccade {

/// The GPU that ran, and what it ran with.
struct GpuInfo {
  std::string name;
  std::string driver;        // "580.95.05", or empty
  std::string cuda_driver;   // "13.0": what the driver supports
  std::string cuda_runtime;  // what the program was built with
  int arch = 0;              // whose kernels ran
};

GpuInfo gpu_info(const Stream&);

/// Which policy is measured, and on what.
struct BenchCase {
  std::filesystem::path checkpoint;
  std::optional<Model> synthetic;  // in place of a checkpoint: random weights at full size
  bool outliers = false;           // in its weights (runtime/outliers.h)
  LoadOptions load;
  std::optional<int> views;          // else all that the policy sees; of a synthetic one 2
  std::optional<int> prompt_tokens;  // else 20, or as many as the policy takes
  int frame_height = 480;
  int frame_width = 640;
};

/// A policy with inputs to measure it on: random frames, tokens, state and noise.
class BenchPolicy {
 public:
  explicit BenchPolicy(const BenchCase&);

  LoadedPolicy& policy() { return policy_; }
  int views() const { return int(observation_.frames.size()); }
  int tokens() const { return int(tokens_.size()); }

  /// Another prompt, of so many tokens.
  void set_tokens(int count);

  /// Prepares an inference up to the graph.
  void write_inputs();

  /// From host frames to host actions, as Policy::infer does behind the tokenizer. Returns its
  /// time in ms.
  double infer();

  const std::vector<float>& actions() const { return actions_; }  // of the last inference
  const std::vector<StageTime>& times() const { return times_; }

  /// Zero where none is known: in f32, and on the CPU.
  Floor floor() const;

 private:
  PreparedState prepare() const;

  LoadedPolicy policy_;
  std::vector<std::uint8_t> pixels_;
  Observation observation_;
  std::vector<int> tokens_;
  std::vector<float> actions_;
  std::vector<StageTime> times_;
};

}  // namespace saccade
