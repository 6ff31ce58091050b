#include <algorithm>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "micro/micro.h"
#include "runtime/graph_timer.h"

namespace saccade::bench {
namespace {

constexpr unsigned kPiece = 8192;  // bytes of one bulk copy
constexpr std::size_t kBufferBytes = std::size_t{1} << 30;
constexpr std::size_t kColdBytes = std::size_t{512} << 20;  // between two reads of a byte

struct Read {
  const std::uint8_t* data;
  int pieces;
  int slots;       // pieces that a CTA has in flight, for bulk copies
  unsigned* sink;  // never written
};

/// 16-byte loads, eight in flight in every thread.
__global__ void read_plainly(const __grid_constant__ Read p) {
  constexpr int kInFlight = 8;
  const auto* data = reinterpret_cast<const uint4*>(p.data);
  const std::int64_t count = std::int64_t(p.pieces) * kPiece / sizeof(uint4);
  const std::int64_t stride = std::int64_t(gridDim.x) * blockDim.x;
  std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  unsigned sum = 0;
  for (; i + (kInFlight - 1) * stride < count; i += kInFlight * stride) {
    uint4 values[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) values[k] = __ldcs(data + i + k * stride);
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      sum += values[k].x ^ values[k].y ^ values[k].z ^ values[k].w;
    }
  }
  for (; i < count; i += stride) sum += __ldcs(data + i).x;
  if (sum == 0x5acade01) *p.sink = sum;
}

/// Bulk copies into a ring of slots, by one thread of each CTA. What is read is nobody's output, so
/// that nothing waits for the kernel in front.
__global__ void read_in_bulk(const __grid_constant__ Read p) {
  extern __shared__ __align__(128) std::uint8_t shared[];
  cuda::allow_next();
  if (threadIdx.x != 0) return;
  const std::uint32_t ring = cuda::ptx::shared_address(shared);
  const std::uint32_t barriers = ring + std::uint32_t(p.slots) * kPiece;
  for (int slot = 0; slot < p.slots; ++slot) cuda::ptx::mbarrier_init(barriers + slot * 8, 1);
  cuda::ptx::fence_mbarrier_init();

  const int mine = (p.pieces - int(blockIdx.x) + int(gridDim.x) - 1) / int(gridDim.x);
  for (int i = 0; i < mine + p.slots; ++i) {
    const int slot = i % p.slots;
    const int landed = i - p.slots;
    if (landed >= 0 && landed < mine) {
      cuda::ptx::mbarrier_wait(barriers + slot * 8, std::uint32_t(landed / p.slots) & 1);
    }
    if (i >= mine) continue;
    const std::size_t piece = std::size_t(blockIdx.x) + std::size_t(i) * gridDim.x;
    cuda::ptx::mbarrier_expect(barriers + slot * 8, kPiece);
    cuda::ptx::bulk_load(ring + std::uint32_t(slot) * kPiece, p.data + piece * kPiece, kPiece,
                         barriers + slot * 8);
  }
  cuda::wait_for_previous();
}

struct Method {
  const char* name;
  void (*kernel)(Read);
  unsigned ctas;  // of one multiprocessor
  unsigned threads;
  int slots;
  cuda::Order order;
};

}  // namespace

std::vector<Measurement> cold_reads(const Stream& stream, int multiprocessors) {
  const auto buffer = cuda::allocate(kBufferBytes);
  const auto sink = cuda::allocate(sizeof(unsigned));
  const Method methods[] = {
      {"16-byte loads", read_plainly, 4, 512, 0, cuda::Order::kSerial},
      {"bulk copies, 192 KB in flight", read_in_bulk, 1, 32, 24, cuda::Order::kSerial},
      {"bulk copies, 96 KB in flight, overlapping", read_in_bulk, 1, 32, 12,
       cuda::Order::kOverlap}};
  std::vector<Measurement> all;
  for (const Method& method : methods) {
    for (const int megabytes : {2, 4, 8, 17, 34, 67, 134}) {
      const int pieces = int(std::size_t(megabytes) * 1'000'000 / kPiece);
      const std::size_t bytes = std::size_t(pieces) * kPiece;
      const int reads = int(kColdBytes / bytes) + 1;
      const double us = time_in_graph(stream, reads, [&](int i) {
        const Read read{static_cast<const std::uint8_t*>(buffer.get()) + std::size_t(i) * bytes,
                        pieces, method.slots, static_cast<unsigned*>(sink.get())};
        cuda::launch(method.kernel,
                     {.grid = method.ctas * unsigned(multiprocessors),
                      .block = method.threads,
                      .shared_bytes = unsigned(method.slots) * (kPiece + 8),
                      .order = method.order},
                     stream.handle, read);
      });
      const std::string what =
          "a cold read of " + std::to_string(megabytes) + " MB, " + method.name;
      all.push_back({what, us, "us"});
      all.push_back({what, double(bytes) / us * 1e-6, "TB/s"});
    }
  }
  return all;
}

}  // namespace saccade::bench
