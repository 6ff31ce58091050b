#include "runtime/replays.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

ReplayTimer::Result ReplayTimer::run(const cuda::Graph& graph, int tokens, int count,
                                     const std::function<void()>& while_running) {
  const Stream& stream = policy_.engine.stream;
  const Tensor x = policy_.engine.pi->inputs().x;
  lead_in_.launch(stream);
  for (int i = 0; i < count; ++i) {
    policy_.runner.upload(tokens);
    begins_[std::size_t(i)].record(stream);
    graph.launch(stream);
    ends_[std::size_t(i)].record(stream);
    cuda::enqueue_download(stream, x.data, result(i), x.bytes());
  }
  if (while_running) while_running();
  cuda::synchronize(stream);

  Result all;
  for (int i = 0; i < count; ++i) {
    all.ms.push_back(ends_[std::size_t(i)].ms_since(begins_[std::size_t(i)]));
    all.same_bits = all.same_bits && std::memcmp(result(i), result(0), x.bytes()) == 0;
  }
  all.finite = std::all_of(result(0), result(0) + x.shape.size(),
                           [](float value) { return std::isfinite(value); });
  return all;
}

}  // namespace saccade
