#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

namespace saccade {

/// Calls f(begin, end) for ranges that cover [0, count), each of at least `grain` but for the
/// last, on as many threads as there are cores. Returns when all are done. f must not throw.
template <typename F>
void parallel_ranges(std::int64_t count, std::int64_t grain, F f) {
  const std::int64_t cores = std::max(1u, std::thread::hardware_concurrency());
  const std::int64_t ranges =
      std::clamp(count / std::max<std::int64_t>(grain, 1), std::int64_t{1}, cores);
  std::vector<std::jthread> threads;
  for (std::int64_t i = 1; i < ranges; ++i) {
    threads.emplace_back(f, count * i / ranges, count * (i + 1) / ranges);
  }
  f(std::int64_t{0}, count / ranges);
}

}  // namespace saccade
