#pragma once

#include <string>

// What the driver's management library knows, where it is installed.
namespace saccade::cuda {

/// Clock of the GPU's multiprocessors now, in MHz; 0 where it is not known.
int sm_clock_mhz();

/// Such as "580.95.05"; empty where it is not known.
std::string driver_version();

}  // namespace saccade::cuda
