#include "cuda/device.h"
#include "cuda/launch.h"
#include "micro/micro.h"
#include "runtime/graph_timer.h"

namespace saccade::bench {
namespace {

struct Barriers {
  unsigned* arrivals;  // 0 at the start
  int count;
};

/// Every CTA must be resident.
__global__ void wait_for_each_other(const __grid_constant__ Barriers p) {
  for (int i = 1; i <= p.count; ++i) {
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(p.arrivals, 1u);
      while (*static_cast<volatile unsigned*>(p.arrivals) < unsigned(i) * gridDim.x) {
      }
      __threadfence();
    }
    __syncthreads();
  }
}

}  // namespace

std::vector<Measurement> grid_barriers(const Stream& stream, int multiprocessors) {
  constexpr int kCount = 1000;
  constexpr unsigned kThreads = 128;
  const auto arrivals = cuda::allocate(sizeof(unsigned));
  std::vector<Measurement> all;
  for (const int ctas : {multiprocessors, 2 * multiprocessors}) {
    const auto time = [&](int count) {
      return time_in_graph(stream, 1, [&](int) {
        SACCADE_CUDA_CHECK(cudaMemsetAsync(arrivals.get(), 0, sizeof(unsigned), stream.handle));
        cuda::launch(wait_for_each_other, {.grid = unsigned(ctas), .block = kThreads},
                     stream.handle, {static_cast<unsigned*>(arrivals.get()), count});
      });
    };
    all.push_back({"a barrier of " + std::to_string(ctas) + " CTAs",
                   (time(kCount) - time(0)) / kCount, "us"});
  }
  return all;
}

}  // namespace saccade::bench
