#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "saccade/policy.h"

namespace saccade::models {

/// Canonical tensor name to its extents, as the checkpoint has them.
using TensorShapes = std::map<std::string, std::vector<std::int64_t>>;

struct SiglipDims {
  int layers = 27;
  int width = 1152;
  int mlp = 4304;
  int heads = 16;
  int patch = 14;
  int image_size = 224;

  int head_dim() const { return width / heads; }
  int tokens() const { return (image_size / patch) * (image_size / patch); }
};

struct GemmaDims {
  int layers = 18;
  int width = 2048;
  int mlp = 16384;
  int heads = 8;
  int kv_heads = 1;
  int head_dim = 256;

  int qkv() const { return (heads + 2 * kv_heads) * head_dim; }
};

struct PiDims {
  Model model = Model::kPi05;
  SiglipDims vision;
  GemmaDims prefix;
  GemmaDims expert{.width = 1024, .mlp = 4096};
  int vocabulary = 257152;
  int max_state_dim = 32;  // 0 for Pi0.5, which has no state projection
  int max_action_dim = 32;
};

/// Which model the tensors are. Fails with a sentence when they are another policy's, naming it.
/// `source` names the checkpoint in messages.
Model detect_model(const TensorShapes&, const std::string& source);

/// Reads the dims off the tensors' shapes. A tensor that is absent leaves the published value, so
/// that the loader can report all that is missing at once. Query heads of the Gemma towers are 8
/// in every published variant; SigLIP's come from `vision_heads` or its published width.
/// Adds a sentence to `warnings` when SigLIP's heads had to be assumed.
PiDims derive_dims(Model, const TensorShapes&, std::optional<int> vision_heads,
                   std::vector<std::string>& warnings);

}  // namespace saccade::models
