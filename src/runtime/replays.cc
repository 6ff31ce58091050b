#include "runtime/replays.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

namespace saccade {

Spread spread_of(std::vector<double> times) {
  if (times.empty()) return {};
  std::sort(times.begin(), times.end());
  const auto size = times.size();
  const auto percentile = [&](std::size_t percent) {
    return times[(size * percent + 99) / 100 - 1];
  };
  return {int(size), percentile(50), percentile(95), percentile(99), times.back()};
}

ReplayTimer::ReplayTimer(LoadedPolicy& policy, const cuda::Graph& lead_in, int most_replays)
    : policy_(policy),
      lead_in_(lead_in),
      begins_(std::size_t(most_replays)),
      ends_(std::size_t(most_replays)),
      results_(
          cuda::allocate_pinned(std::size_t(most_replays) * policy.engine.host_inputs.x.bytes())) {}

float* ReplayTimer::result(int replay) const {
  return static_cast<float*>(results_.get()) +
         std::int64_t(replay) * policy_.engine.host_inputs.x.shape.size();
}

void ReplayTimer::enqueue(const cuda::Graph& graph, int tokens, int replay) {
  const Stream& stream = policy_.engine.stream;
  const Tensor x = policy_.engine.pi->inputs().x;
  policy_.runner.upload(tokens);
  begins_[std::size_t(replay)].record(stream);
  graph.launch(stream);
  ends_[std::size_t(replay)].record(stream);
  cuda::enqueue_download(stream, x.data, result(replay), x.bytes());
}

ReplayTimer::Result ReplayTimer::collect(int count) const {
  const Tensor x = policy_.engine.pi->inputs().x;
  Result all;
  for (int i = 0; i < count; ++i) {
    all.ms.push_back(ends_[std::size_t(i)].ms_since(begins_[std::size_t(i)]));
    all.same_bits = all.same_bits && std::memcmp(result(i), result(0), x.bytes()) == 0;
  }
  all.finite = std::all_of(result(0), result(0) + x.shape.size(),
                           [](float value) { return std::isfinite(value); });
  return all;
}

ReplayTimer::Result ReplayTimer::run(const cuda::Graph& graph, int tokens, int count,
                                     const std::function<void()>& while_running) {
  const Stream& stream = policy_.engine.stream;
  lead_in_.launch(stream);
  for (int i = 0; i < count; ++i) enqueue(graph, tokens, i);
  if (while_running) while_running();
  cuda::synchronize(stream);
  return collect(count);
}

ReplayTimer::Result ReplayTimer::run_apart(const cuda::Graph& graph, int tokens, int count,
                                           double pause_ms) {
  const Stream& stream = policy_.engine.stream;
  for (int i = 0; i < count; ++i) {
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(pause_ms));
    lead_in_.launch(stream);
    enqueue(graph, tokens, i);
    cuda::synchronize(stream);
  }
  return collect(count);
}

}  // namespace saccade
