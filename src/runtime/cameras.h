#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/policy_config.h"
#include "saccade/policy.h"

namespace saccade {

/// The frames that are there, in the order the model sees them. A camera may be called by either
/// of its names. Fails on unknown or doubled cameras, on empty frames, on frames that the stream's
/// device cannot read, and when no frame is given (openpi: when the first camera is missing, which
/// its policies require).
std::vector<Frame> ordered_frames(const io::PolicyConfig&, const Stream&,
                                  const std::map<std::string, Frame>&);

}  // namespace saccade
