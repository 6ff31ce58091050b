#pragma once

#include <cstdint>
#include <string>

// What the driver's management library knows, where it is installed.
namespace saccade::cuda {

/// Clock of the GPU's multiprocessors now, in MHz; 0 where it is not known.
int sm_clock_mhz();

/// Memory of the GPU, and what everybody uses of it; zeros where it is not known.
struct DeviceMemory {
  std::uint64_t used_bytes = 0;
  std::uint64_t total_bytes = 0;
};
DeviceMemory device_memory();

/// Such as "580.95.05"; empty where it is not known.
std::string driver_version();

}  // namespace saccade::cuda
