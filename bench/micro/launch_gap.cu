#include "cuda/launch.h"
#include "micro/micro.h"
#include "runtime/graph_timer.h"

namespace saccade::bench {
namespace {

struct Nothing {};

__global__ void empty(const __grid_constant__ Nothing) {}

/// As a policy's kernels begin: the next may come before this one waits.
__global__ void empty_overlapping(const __grid_constant__ Nothing) {
  cuda::allow_next();
  cuda::wait_for_previous();
}

}  // namespace

std::vector<Measurement> launch_gaps(const Stream& stream, int multiprocessors) {
  constexpr int kKernels = 500;
  constexpr unsigned kThreads = 128;
  std::vector<Measurement> all;
  for (const int ctas : {1, multiprocessors, 2 * multiprocessors}) {
    const auto time = [&](void (*kernel)(Nothing), cuda::Order order) {
      return time_in_graph(stream, kKernels, [&](int) {
        cuda::launch(kernel, {.grid = unsigned(ctas), .block = kThreads, .order = order},
                     stream.handle, Nothing{});
      });
    };
    const std::string kernels = "an empty kernel of " + std::to_string(ctas) + " CTAs, ";
    all.push_back({kernels + "serial", time(empty, cuda::Order::kSerial), "us"});
    all.push_back({kernels + "overlapping", time(empty_overlapping, cuda::Order::kOverlap), "us"});
  }
  return all;
}

}  // namespace saccade::bench
