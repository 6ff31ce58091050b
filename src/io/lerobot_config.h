#pragma once

#include "io/policy_config.h"

namespace saccade::io {

/// Fills a config from a LeRobot checkpoint: its config.json, and its processors, which are what
/// LeRobot runs and therefore win where both say something.
void read_lerobot_config(const CheckpointFiles&, const LoadOptions&, PolicyConfig&);

}  // namespace saccade::io
