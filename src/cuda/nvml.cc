#include "cuda/nvml.h"

#include <cuda_runtime.h>
#include <dlfcn.h>

namespace saccade::cuda {
namespace {

// The few declarations of NVML, version 2 of its interface, that are needed; its header is not
// part of every CUDA installation.
using NvmlDevice = void*;
using NvmlInit = int (*)();
using NvmlDriverVersion = int (*)(char* version, unsigned length);
using NvmlFind = int (*)(const char* pci_bus_id, NvmlDevice*);
using NvmlClock = int (*)(NvmlDevice, unsigned kind, unsigned* mhz);
constexpr unsigned kSmClock = 1;
struct NvmlMemory {
  unsigned long long total, free, used;
};
using NvmlMemoryInfo = int (*)(NvmlDevice, NvmlMemory*);

/// The library, initialised for as long as the process lives, or null.
void* open_library() {
  void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  const auto init = reinterpret_cast<NvmlInit>(dlsym(library, "nvmlInit_v2"));
  return init != nullptr && init() == 0 ? library : nullptr;
}

/// A function of the library, or null.
template <typename Function>
Function find(const char* name) {
  static void* const library = open_library();
  return library == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(library, name));
}

/// NVML numbers GPUs by itself, so that the bus decides.
NvmlDevice find_device() {
  const auto by_bus = find<NvmlFind>("nvmlDeviceGetHandleByPciBusId_v2");
  char bus[32];
  NvmlDevice device = nullptr;
  if (by_bus == nullptr || cudaDeviceGetPCIBusId(bus, sizeof(bus), 0) != cudaSuccess ||
      by_bus(bus, &device) != 0) {
    return nullptr;
  }
  return device;
}

}  // namespace

int sm_clock_mhz() {
  static const NvmlDevice device = find_device();
  static const auto clock = find<NvmlClock>("nvmlDeviceGetClockInfo");
  unsigned mhz = 0;
  if (device == nullptr || clock == nullptr || clock(device, kSmClock, &mhz) != 0) return 0;
  return int(mhz);
}

DeviceMemory device_memory() {
  static const NvmlDevice device = find_device();
  static const auto query = find<NvmlMemoryInfo>("nvmlDeviceGetMemoryInfo");
  NvmlMemory memory{};
  if (device == nullptr || query == nullptr || query(device, &memory) != 0) return {};
  return {memory.used, memory.total};
}

std::string driver_version() {
  const auto version = find<NvmlDriverVersion>("nvmlSystemGetDriverVersion");
  char text[96];
  if (version == nullptr || version(text, sizeof(text)) != 0) return {};
  return text;
}

}  // namespace saccade::cuda
