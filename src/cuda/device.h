#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "saccade/stream.h"

// The GPU, for callers that know no CUDA header. Failures of the device or the driver throw
// DeviceError with one sentence.
namespace saccade::cuda {

/// One GPU as it is now.
struct DeviceInfo {
  std::string name;
  int arch = 0;  // 10 times the compute capability
  int multiprocessors = 0;
  std::size_t memory_bytes = 0;
  std::size_t free_bytes = 0;
  std::string driver;   // CUDA version that the driver supports, such as "13.0"
  std::string runtime;  // CUDA version that the program was built with
};

/// Whether a GPU and a driver are there at all, whatever their age.
bool device_is_there();

DeviceInfo device_info();

/// A stream of the device, with the arch whose kernels may run: the device's own, or a lower one
/// that SACCADE_ARCH names in the environment (80: the portable kernels). Fails with a sentence
/// that says what to do when there is no device, the driver is too old, or this build holds no
/// code for the device.
std::shared_ptr<const Stream> open_stream();

/// A stream that the caller owns, as ops take it; null: CUDA's legacy default stream.
Stream borrowed_stream(CUstream_st*);

/// Whether a pointer is to memory of the current device, managed memory included.
bool is_device_memory(const void*);

/// Zeroed device memory.
std::shared_ptr<void> allocate(std::size_t bytes);

/// Zeroed page-locked memory of the host, which the device copies from without a detour.
std::shared_ptr<void> allocate_pinned(std::size_t bytes);

void upload(const Stream&, const void* host, void* device, std::size_t bytes);
void download(const Stream&, const void* device, void* host, std::size_t bytes);

/// The same without waiting; `host` is pinned and stays as it is until the stream has passed.
void enqueue_upload(const Stream&, const void* host, void* device, std::size_t bytes);
void enqueue_download(const Stream&, const void* device, void* host, std::size_t bytes);

/// Waits until everything enqueued has run, and reports what failed.
void synchronize(const Stream&);

/// A mark in a stream that takes the time.
class Event {
 public:
  Event();
  void record(const Stream&);
  void hold(const Stream&) const;            // what is enqueued behind waits for the mark
  void wait() const;                         // until the stream has passed the mark
  double ms_since(const Event& from) const;  // both passed

 private:
  std::shared_ptr<void> event_;
};

/// A recorded sequence of ops, ready to be replayed.
class Graph {
 public:
  Graph() = default;

  /// Records what `enqueue` enqueues on the stream, without running it.
  Graph(const Stream&, const std::function<void()>& enqueue);

  void launch(const Stream&) const;
  explicit operator bool() const { return exec_ != nullptr; }

  int kernels() const { return kernels_; }
  int overlapping_edges() const { return overlapping_edges_; }  // programmatic dependent launches

  /// Graphs recorded by this process, so that a bench can show that none is after load.
  static std::uint64_t recorded();

 private:
  std::shared_ptr<void> exec_;
  int kernels_ = 0;
  int overlapping_edges_ = 0;
};

/// Blocks of device and pinned memory that this process has allocated so far.
std::uint64_t allocations();

}  // namespace saccade::cuda
