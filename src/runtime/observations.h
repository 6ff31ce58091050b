#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/image.h"
#include "runtime/loaded_policy.h"
#include "saccade/policy.h"

// What a policy is tried on: observations that a user recorded, or made-up ones.
namespace saccade {

/// An observation and the pictures that its frames point into.
struct StoredObservation {
  StoredObservation() = default;
  StoredObservation(StoredObservation&&) = default;
  StoredObservation& operator=(StoredObservation&&) = default;

  std::string name;  // for messages: its file, or "observation 0"
  std::vector<io::Image> images;
  Observation observation;
};

/// The files of a directory that hold an observation each (docs/numerics.md), in the order of their
/// names: *.safetensors and *.json. Pictures that a *.json names lie beside it, and are no
/// observations themselves.
std::vector<std::filesystem::path> observation_files(const std::filesystem::path& directory);

/// Reads one of them. Fails by its name and by that of the part that is wrong.
StoredObservation read_observation(const std::filesystem::path& file);

/// A seeded observation: smooth random pictures for every camera, a state in the inner half of its
/// range, 5 to 40 random prompt tokens, and noise of its own.
StoredObservation make_observation(const io::PolicyConfig&, const PolicyInfo&, int vocabulary,
                                   std::uint64_t seed);

}  // namespace saccade
