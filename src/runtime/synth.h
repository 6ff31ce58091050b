#pragma once

#include <cstdint>
#include <filesystem>

#include "saccade/policy.h"

namespace saccade {

enum class SynthSize : std::uint8_t { kTiny, kFull };
enum class SynthLayout : std::uint8_t { kLerobot, kOpenpi };

struct SynthOptions {
  Model model = Model::kPi05;
  SynthSize size = SynthSize::kTiny;
  SynthLayout layout = SynthLayout::kLerobot;
  std::uint64_t seed = 0;
  int cameras = 2;        // of a lerobot policy; openpi's always has three
  bool outliers = false;  // some channels are far larger than others (runtime/outliers.h)
  Progress progress;
};

/// Writes a random checkpoint in a public layout, with BF16 matrices and weights scaled so that
/// activations stay O(1). `directory` is made, or is there and empty. On failure
/// nothing of it is left behind.
void synthesize_checkpoint(const std::filesystem::path& directory, const SynthOptions&);

}  // namespace saccade
