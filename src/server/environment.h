#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "saccade/policy.h"
#include "server/value.h"

namespace saccade::server {

/// How the clients of a robot word what it sees, and what they are told about it.
struct Environment {
  struct Camera {
    std::string key;     // in the observation
    std::string camera;  // the policy's name
    bool required = true;
  };
  /// Parts of the state, in order.
  struct StatePart {
    std::string key;
    std::size_t values = 0;  // 0: as many as there are
  };

  std::string name;                          // "aloha"
  std::string images_key;                    // the map of the cameras; empty: the observation
  std::vector<Camera> cameras;               // empty: every other key is a camera of the policy
  std::vector<std::string> ignored_cameras;  // accepted and not looked at
  std::vector<StatePart> state;
  std::vector<double> reset_pose;  // in the metadata; may be empty
};

/// Words for the command line: aloha, aloha_sim, droid, libero.
const std::vector<std::string>& environment_names();

/// The openpi config that openpi's server takes for an environment: pi05_aloha for "aloha".
const char* default_openpi_config(std::string_view environment);

/// The environment that a user named or, if that is empty, that an openpi config implies; else
/// keys are the policy's own camera names, "state" and "prompt". Fails when the two contradict each
/// other and when the policy has fewer cameras than the environment.
Environment make_environment(std::string_view name, std::string_view openpi_config,
                             const PolicyInfo&);

/// An observation with what its frames point into: pixels that had to be converted, else the
/// message.
struct DecodedObservation {
  Observation observation;
  std::vector<std::vector<std::uint8_t>> pixels;
  std::shared_ptr<const void> message;  // kept alive; set by whoever has it
  std::size_t message_bytes = 0;        // that it takes
};

/// Reads an observation. Pictures are [3, height, width] or [height, width, 3], 8-bit or floating
/// point in [0, 1]. Fails with one sentence that names the key.
DecodedObservation decode_observation(const Environment&, const Value& message);

}  // namespace saccade::server
