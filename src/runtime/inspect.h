#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/policy_config.h"
#include "saccade/policy.h"

namespace saccade {

/// One part of the network and what its tensors take in the checkpoint.
struct StageSize {
  std::string stage;  // "vision", "projector", "prefix", "embedding", "expert", "suffix", "unused"
  std::uint64_t parameters = 0;
  std::uint64_t bytes = 0;  // as stored
  std::string dims;         // "27 x 1152, mlp 4304, 16 heads x 72"
};

struct InspectReport {
  io::CheckpointFiles files;
  io::PolicyConfig config;
  Model model = Model::kPi0;
  int image_size = 0;
  std::vector<StageSize> stages;
  std::vector<std::string> unused;    // tensors, by the checkpoint's names
  std::vector<std::string> problems;  // missing and mis-shaped tensors, a sentence each
};

/// Reads headers, configuration and statistics, but no weights.
InspectReport inspect(const std::filesystem::path& checkpoint, const LoadOptions&);

/// CRC32C of every packed weight buffer, by its name. Loads the weights.
std::vector<std::pair<std::string, std::uint32_t>> weight_digest(
    const std::filesystem::path& checkpoint, const LoadOptions&);

}  // namespace saccade
