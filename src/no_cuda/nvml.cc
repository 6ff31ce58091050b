#include "cuda/nvml.h"

namespace saccade::cuda {

int sm_clock_mhz() { return 0; }
DeviceMemory device_memory() { return {}; }
std::string driver_version() { return {}; }

}  // namespace saccade::cuda
