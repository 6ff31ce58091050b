#include "io/policy_config.h"

#include <algorithm>
#include <array>

#include "core/check.h"
#include "io/json.h"
#include "io/lerobot_config.h"
#include "io/openpi_config.h"

namespace saccade::io {
namespace {

namespace fs = std::filesystem;

fs::path existing(const fs::path& path) { return fs::exists(path) ? path : fs::path(); }

fs::path find_weights(const fs::path& directory) {
  const fs::path single = existing(directory / "model.safetensors");
  return single.empty() ? existing(directory / "model.safetensors.index.json") : single;
}

/// An OCDBT database, or one zarr directory per array, named after its path in the tree.
bool is_orbax_params(const fs::path& directory) {
  if (!fs::is_directory(directory)) return false;
  if (fs::exists(directory / "manifest.ocdbt")) return true;
  return std::any_of(fs::directory_iterator(directory), fs::directory_iterator(),
                     [](const fs::directory_entry& entry) {
                       return entry.path().filename().string().starts_with("params.") &&
                              fs::exists(entry.path() / ".zarray");
                     });
}

bool has_lerobot_type(const fs::path& config) {
  if (config.empty()) return false;
  const Json json = read_json(config);
  return Fields(json, config.string()).text("type").has_value();
}

CheckpointFiles describe(const fs::path& root, const fs::path& weights) {
  CheckpointFiles files;
  files.root = root;
  files.weights = weights;
  files.config = existing(root / "config.json");
  files.preprocessor = existing(root / "policy_preprocessor.json");
  files.postprocessor = existing(root / "policy_postprocessor.json");
  const bool lerobot =
      !files.preprocessor.empty() || !files.postprocessor.empty() || has_lerobot_type(files.config);
  files.layout = lerobot ? "lerobot" : "openpi";
  return files;
}

CheckpointFiles describe_file(const fs::path& file) {
  const std::string name = file.filename().string();
  SACCADE_CHECK(name.ends_with(".safetensors") || name.ends_with(".index.json"), file.string(),
                "a checkpoint file must end in .safetensors or .index.json");
  return describe(file.has_parent_path() ? file.parent_path() : fs::path("."), file);
}

CheckpointFiles describe_orbax(const fs::path& root, const fs::path& params) {
  CheckpointFiles files;
  files.layout = "orbax";
  files.root = root;
  files.weights = params;
  return files;
}

void check_range(const char* name, const std::optional<int>& value, int high) {
  SACCADE_CHECK(!value || (*value >= 1 && *value <= high), "options", name, " must be from 1 to ",
                high, ", got ", *value);
}

void check_extents(const LoadOptions& options) {
  check_range("steps", options.steps, kMaxSteps);
  check_range("chunk", options.chunk, kMaxChunk);
  check_range("max_prompt_tokens", options.max_prompt_tokens, kMaxPromptTokens);
  check_range("vision_heads", options.vision_heads, kMaxVisionHeads);
}

}  // namespace

CheckpointFiles find_checkpoint(const fs::path& path) {
  const std::string where = path.string();
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  SACCADE_CHECK(fs::exists(status), where, "there is no such file or directory");
  try {
    if (!fs::is_directory(status)) return describe_file(path);
    // What LeRobot's training writes has the checkpoint further inside.
    for (const char* inner : {"", "pretrained_model", "checkpoints/last/pretrained_model"}) {
      const fs::path root = *inner ? path / inner : path;
      const fs::path weights = find_weights(root);
      if (!weights.empty()) return describe(root, weights);
    }
    if (is_orbax_params(path / "params")) return describe_orbax(path, path / "params");
    if (is_orbax_params(path)) {
      // The statistics lie beside the parameters, and "params/" names the same as "params".
      const fs::path full = fs::absolute(path / "").lexically_normal().parent_path();
      return describe_orbax(full.parent_path(), path);
    }
  } catch (const fs::filesystem_error& failure) {
    fail(where, "the directory could not be read: ", failure.code().message());
  }
  SACCADE_CHECK(!fs::exists(path / "adapter_config.json"), where,
                "this is a PEFT adapter, which must be merged into its base policy first");
  fail(where,
       "this is no checkpoint: a directory must have model.safetensors, "
       "model.safetensors.index.json, or an Orbax params directory");
}

void override_extents(const LoadOptions& options, PolicyConfig& config) {
  check_extents(options);
  config.steps = options.steps.value_or(config.steps);
  config.chunk = options.chunk.value_or(config.chunk);
  if (options.max_prompt_tokens) config.max_prompt_tokens = options.max_prompt_tokens;
  config.vision_heads = options.vision_heads;
}

PolicyConfig read_policy_config(const CheckpointFiles& files, const LoadOptions& options) {
  check_extents(options);
  const bool lerobot = files.layout == "lerobot";
  SACCADE_CHECK(!lerobot || options.openpi_config.empty(), files.root.string(),
                "this is a LeRobot checkpoint, which says itself what the openpi config ",
                quote(options.openpi_config), " would say");
  PolicyConfig config;
  config.mode = options.mode.value_or(lerobot ? Mode::kLerobot : Mode::kOpenpi);
  if (lerobot) {
    read_lerobot_config(files, options, config);
  } else {
    read_openpi_config(files, options, config);
  }
  if (options.model) config.model = options.model;
  if (config.model) set_openpi_normalization(config, *config.model);
  override_extents(options, config);
  return config;
}

}  // namespace saccade::io
