#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/statistics.h"
#include "runtime/synth.h"

namespace saccade {

/// Dims of the made-up robot: two arms of six joints with a gripper each.
inline constexpr int kSynthDim = 14;

/// Random statistics of "observation.state" and "action", with all nine of LeRobot's.
io::Statistics synth_statistics(std::uint64_t seed);

/// The JSON files of a layout by their path below the checkpoint's directory.
std::map<std::string, std::string> synth_files(const SynthOptions&, const io::Statistics&);

/// The statistics files that LeRobot's processors name.
std::vector<std::string> synth_statistics_files(const SynthOptions&);

}  // namespace saccade
