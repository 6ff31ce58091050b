#pragma once

#include "io/policy_config.h"

namespace saccade::io {

/// Facts that openpi keeps in its train configs, in no file of a checkpoint.
struct OpenpiConfig {
  const char* name;
  Model model;
  int chunk;
  const char* asset_id;           // folder of norm_stats.json below assets/
  const char* robot;              // "aloha", "droid" or "libero"
  bool relative_actions = false;  // the robot's joints are relative, its grippers absolute
  const char* default_prompt = "";
  int max_prompt_tokens = 0;    // 0: the model's
  bool state_in_prompt = true;  // Pi0.5 only
};

/// The config of a name. Fails, listing the names, when there is none or it is not supported.
const OpenpiConfig& find_openpi_config(std::string_view name);

/// Fills a config from an openpi checkpoint, PyTorch or JAX.
void read_openpi_config(const CheckpointFiles&, const LoadOptions&, PolicyConfig&);

}  // namespace saccade::io
