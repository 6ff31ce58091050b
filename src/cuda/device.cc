#include "cuda/device.h"

#include <cuda_runtime.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda/launch.h"
#include "saccade/error.h"

namespace saccade::cuda {
namespace {

constexpr int kOldestArch = 80;
constexpr int kOldestDriver = 13000;  // the major version that the kernels' code is made with

std::atomic<std::uint64_t> allocation_count{0};
std::atomic<std::uint64_t> graph_count{0};

int attribute(cudaDeviceAttr which) {
  int value = 0;
  SACCADE_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, 0));
  return value;
}

std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

void check_driver() {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0) throw DeviceError("no CUDA driver is installed; --device cpu runs without one");
  if (driver < kOldestDriver) {
    throw DeviceError("the driver supports CUDA " + version(driver) + ", this build needs " +
                      version(kOldestDriver) + " or later: update the driver or use --device cpu");
  }
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    throw DeviceError("no CUDA device is there; --device cpu runs without one");
  }
  SACCADE_CUDA_CHECK(status);
}

/// Of the kernels that may run on the device.
int usable_arch() {
  check_driver();
  const int arch = attribute(cudaDevAttrComputeCapabilityMajor) * 10 +
                   attribute(cudaDevAttrComputeCapabilityMinor);
  if (arch < kOldestArch) {
    throw DeviceError("the GPU has compute capability " + std::to_string(arch / 10) + "." +
                      std::to_string(arch % 10) + ", this build holds code for 8.0 and later");
  }
  // Kernels for sm_90a run on 9.0 alone; later GPUs take the portable ones.
  const int own = arch == 90 ? 90 : kOldestArch;
  const char* limit = std::getenv("SACCADE_ARCH");
  const int lower = limit == nullptr ? 0 : std::atoi(limit);
  return lower > 0 && lower < own ? lower : own;
}

std::shared_ptr<void> counted(void* block, void (*free)(void*)) {
  ++allocation_count;
  return {block, free};
}

}  // namespace

bool device_is_there() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return false;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  return status == cudaErrorInsufficientDriver || (status == cudaSuccess && count > 0);
}

DeviceInfo device_info() {
  check_driver();
  DeviceInfo info;
  cudaDeviceProp properties;
  SACCADE_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  info.name = properties.name;
  info.arch = properties.major * 10 + properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  SACCADE_CUDA_CHECK(cudaMemGetInfo(&info.free_bytes, &info.memory_bytes));
  int driver = 0, runtime = 0;
  SACCADE_CUDA_CHECK(cudaDriverGetVersion(&driver));
  SACCADE_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  info.driver = version(driver);
  info.runtime = version(runtime);
  return info;
}

std::shared_ptr<const Stream> open_stream() {
  const int arch = usable_arch();
  cudaStream_t handle = nullptr;
  SACCADE_CUDA_CHECK(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking));
  const auto close = [](const Stream* stream) {
    cudaStreamDestroy(stream->handle);
    delete stream;
  };
  return {new Stream{Device::kCuda, handle, arch}, close};
}

Stream borrowed_stream(CUstream_st* handle) {
  static const int arch = usable_arch();
  return {Device::kCuda, handle, arch};
}

bool is_device_memory(const void* pointer) {
  int device = 0;
  SACCADE_CUDA_CHECK(cudaGetDevice(&device));
  cudaPointerAttributes attributes;
  SACCADE_CUDA_CHECK(cudaPointerGetAttributes(&attributes, pointer));
  return attributes.type == cudaMemoryTypeManaged ||
         (attributes.type == cudaMemoryTypeDevice && attributes.device == device);
}

std::shared_ptr<void> allocate(std::size_t bytes) {
  void* block = nullptr;
  const cudaError_t status = cudaMalloc(&block, bytes);
  if (status == cudaErrorMemoryAllocation) {
    const DeviceInfo info = device_info();
    throw DeviceError("the GPU has " + std::to_string(info.free_bytes >> 20) + " MiB free, " +
                      std::to_string(bytes >> 20) + " MiB are needed");
  }
  SACCADE_CUDA_CHECK(status);
  const auto owner = counted(block, [](void* data) { cudaFree(data); });
  SACCADE_CUDA_CHECK(cudaMemset(block, 0, bytes));
  SACCADE_CUDA_CHECK(cudaDeviceSynchronize());
  return owner;
}

std::shared_ptr<void> allocate_pinned(std::size_t bytes) {
  void* block = nullptr;
  SACCADE_CUDA_CHECK(cudaHostAlloc(&block, bytes, cudaHostAllocDefault));
  const auto owner = counted(block, [](void* data) { cudaFreeHost(data); });
  std::memset(block, 0, bytes);
  return owner;
}

void enqueue_upload(const Stream& s, const void* host, void* device, std::size_t bytes) {
  SACCADE_CUDA_CHECK(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, s.handle));
}

void enqueue_download(const Stream& s, const void* device, void* host, std::size_t bytes) {
  SACCADE_CUDA_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, s.handle));
}

void upload(const Stream& s, const void* host, void* device, std::size_t bytes) {
  enqueue_upload(s, host, device, bytes);
  synchronize(s);
}

void download(const Stream& s, const void* device, void* host, std::size_t bytes) {
  enqueue_download(s, device, host, bytes);
  synchronize(s);
}

void synchronize(const Stream& s) { SACCADE_CUDA_CHECK(cudaStreamSynchronize(s.handle)); }

Event::Event() {
  cudaEvent_t event = nullptr;
  SACCADE_CUDA_CHECK(cudaEventCreate(&event));
  event_ = {event, [](void* handle) { cudaEventDestroy(static_cast<cudaEvent_t>(handle)); }};
}

void Event::record(const Stream& s) {
  SACCADE_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(event_.get()), s.handle));
}

void Event::hold(const Stream& s) const {
  SACCADE_CUDA_CHECK(cudaStreamWaitEvent(s.handle, static_cast<cudaEvent_t>(event_.get()), 0));
}

void Event::wait() const {
  SACCADE_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(event_.get())));
}

double Event::ms_since(const Event& from) const {
  float ms = 0;
  SACCADE_CUDA_CHECK(cudaEventElapsedTime(&ms, static_cast<cudaEvent_t>(from.event_.get()),
                                          static_cast<cudaEvent_t>(event_.get())));
  return ms;
}

namespace {

/// Counts the edges of a graph that let a kernel start before the one in front has finished.
int count_overlapping(cudaGraph_t graph) {
  std::size_t count = 0;
  SACCADE_CUDA_CHECK(cudaGraphGetEdges(graph, nullptr, nullptr, nullptr, &count));
  std::vector<cudaGraphNode_t> from(count), to(count);
  std::vector<cudaGraphEdgeData> edges(count);
  SACCADE_CUDA_CHECK(cudaGraphGetEdges(graph, from.data(), to.data(), edges.data(), &count));
  int overlapping = 0;
  for (const cudaGraphEdgeData& edge : edges) {
    overlapping += edge.type == cudaGraphDependencyTypeProgrammatic;
  }
  return overlapping;
}

}  // namespace

Graph::Graph(const Stream& stream, const std::function<void()>& enqueue) {
  SACCADE_CUDA_CHECK(cudaStreamBeginCapture(stream.handle, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream.handle, &graph);
    if (graph) cudaGraphDestroy(graph);
    throw;
  }
  SACCADE_CUDA_CHECK(cudaStreamEndCapture(stream.handle, &graph));
  const std::shared_ptr<void> owner(
      graph, [](void* handle) { cudaGraphDestroy(static_cast<cudaGraph_t>(handle)); });
  std::size_t nodes = 0;
  SACCADE_CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &nodes));
  kernels_ = int(nodes);
  overlapping_edges_ = count_overlapping(graph);
  cudaGraphExec_t exec = nullptr;
  SACCADE_CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
  exec_ = {exec, [](void* handle) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(handle)); }};
  SACCADE_CUDA_CHECK(cudaGraphUpload(exec, stream.handle));
  ++graph_count;
}

void Graph::launch(const Stream& stream) const {
  SACCADE_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(exec_.get()), stream.handle));
}

std::uint64_t Graph::recorded() { return graph_count; }

std::uint64_t allocations() { return allocation_count; }

}  // namespace saccade::cuda
