#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/statistics.h"
#include "saccade/policy.h"

namespace saccade::io {

/// What LoadOptions and files may ask for, from 1.
inline constexpr int kMaxSteps = 1000;
inline constexpr int kMaxChunk = 1000;
inline constexpr int kMaxPromptTokens = 4096;
inline constexpr int kMaxVisionHeads = 1024;

/// Where the parts of a checkpoint lie.
struct CheckpointFiles {
  std::string layout;                   // "lerobot", "openpi" or "orbax"
  std::filesystem::path root;           // what the user named, or the directory of that file
  std::filesystem::path weights;        // safetensors file, index.json, or Orbax params directory
  std::filesystem::path config;         // config.json, or empty
  std::filesystem::path preprocessor;   // policy_preprocessor.json, or empty
  std::filesystem::path postprocessor;  // policy_postprocessor.json, or empty
};

/// Finds out what kind of checkpoint a path is. Fails with one sentence when it is none.
CheckpointFiles find_checkpoint(const std::filesystem::path&);

/// How raw features become what the network sees, and back.
struct FeatureNormalization {
  Normalization kind = Normalization::kIdentity;
  double eps = 0;
  FeatureStatistics statistics;  // empty for kIdentity
};

/// All that a checkpoint's files and the user say about a policy, beside the weights.
struct PolicyConfig {
  std::optional<Model> model;  // not said anywhere: the tensors decide
  Mode mode = Mode::kOpenpi;
  int steps = 10;
  int chunk = 50;
  std::optional<int> max_prompt_tokens;
  std::optional<int> vision_heads;
  double min_period = 4e-3;
  double max_period = 4.0;
  std::optional<int> image_size;  // as config.json says; the position table decides

  std::vector<std::string> cameras;          // in the order the model sees them
  std::vector<std::string> camera_names;     // what users may call them, same order; may be cameras
  std::vector<std::string> ignored_cameras;  // names that are accepted and not used
  std::optional<int> state_dim;
  std::optional<int> action_dim;  // columns that are returned; else all of the model's
  std::vector<std::string> action_names;

  std::optional<bool> state_in_prompt;  // Pi0.5; not said: true
  std::string default_prompt;
  bool aloha_joints = false;           // openpi's adapt_to_pi: joint flips and gripper units
  std::vector<bool> relative_actions;  // dims to which the raw state is added back; may be empty

  std::optional<FeatureNormalization> state;  // not given: the checkpoint has none
  std::optional<FeatureNormalization> actions;
  bool normalization_by_model = false;  // openpi: see set_openpi_normalization
  std::string statistics_error;         // why state or actions are not given, one sentence
  std::vector<std::string> warnings;
};

/// Reads config.json, the processors and the statistics. Options override what the files say.
/// Missing statistics are not an error here: `inspect` and `verify` do without.
PolicyConfig read_policy_config(const CheckpointFiles&, const LoadOptions&);

/// The numbers that options ask for in place of a configuration's.
void override_extents(const LoadOptions&, PolicyConfig&);

/// openpi's files hold statistics, but the model decides how they are used: Pi0 by z-score, Pi0.5
/// by quantiles. To be called once the tensors have told the model; does nothing when the kind of
/// normalisation is already known. Statistics that lack what the kind needs are taken away, and
/// statistics_error says so.
void set_openpi_normalization(PolicyConfig&, Model);

}  // namespace saccade::io
