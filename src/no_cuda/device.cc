// A build without CUDA has no GPU, whatever the machine has.

#include "cuda/device.h"

#include "saccade/error.h"

namespace saccade::cuda {
namespace {

[[noreturn]] void no_cuda() {
  throw DeviceError("this build has no CUDA; --device cpu runs without it");
}

}  // namespace

bool device_is_there() { return false; }
DeviceInfo device_info() { no_cuda(); }
std::shared_ptr<const Stream> open_stream() { no_cuda(); }
Stream borrowed_stream(CUstream_st*) { no_cuda(); }
bool is_device_memory(const void*) { no_cuda(); }
std::shared_ptr<void> allocate(std::size_t) { no_cuda(); }
std::shared_ptr<void> allocate_pinned(std::size_t) { no_cuda(); }
void upload(const Stream&, const void*, void*, std::size_t) { no_cuda(); }
void download(const Stream&, const void*, void*, std::size_t) { no_cuda(); }
void enqueue_upload(const Stream&, const void*, void*, std::size_t) { no_cuda(); }
void enqueue_download(const Stream&, const void*, void*, std::size_t) { no_cuda(); }
void synchronize(const Stream&) { no_cuda(); }

Event::Event() { no_cuda(); }
void Event::record(const Stream&) { no_cuda(); }
void Event::hold(const Stream&) const { no_cuda(); }
void Event::wait() const { no_cuda(); }
double Event::ms_since(const Event&) const { no_cuda(); }

Graph::Graph(const Stream&, const std::function<void()>&) { no_cuda(); }
void Graph::launch(const Stream&) const { no_cuda(); }
std::uint64_t Graph::recorded() { return 0; }

std::uint64_t allocations() { return 0; }

}  // namespace saccade::cuda
