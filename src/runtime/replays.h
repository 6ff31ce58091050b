#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "cuda/device.h"
#include "runtime/loaded_policy.h"

namespace saccade {

/// Of a number of times in ms; a percentile is the smallest time that so many do not exceed.
struct Spread {
  int count = 0;
  double p50 = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
};

Spread spread_of(std::vector<double> times);

/// Times replays of graphs on a GPU, each from the inputs that the policy was last given. They are
/// enqueued while another graph runs, so that no time of the host is in them. Allocates all it
/// needs when it is made.
class ReplayTimer {
 public:
  ReplayTimer(LoadedPolicy&, const cuda::Graph& lead_in, int most_replays);

  struct Result {
    std::vector<double> ms;
    bool same_bits = true;  // x behind every replay is the first one's
    bool finite = true;
  };

  /// Replays a graph `count` times, one behind the other. `while_running` is called when all are
  /// enqueued.
  Result run(const cuda::Graph&, int tokens, int count,
             const std::function<void()>& while_running = {});

  /// The same with the GPU idle for `pause_ms` before each replay. A part of an inference that does
  /// nothing but multiply would run into the GPU's power limit, which it does not reach between the
  /// other parts.
  Result run_apart(const cuda::Graph&, int tokens, int count, double pause_ms);

 private:
  float* result(int replay) const;
  void enqueue(const cuda::Graph&, int tokens, int replay);
  Result collect(int count) const;

  LoadedPolicy& policy_;
  const cuda::Graph& lead_in_;
  std::vector<cuda::Event> begins_;
  std::vector<cuda::Event> ends_;
  std::shared_ptr<void> results_;  // pinned: x behind every replay
};

}  // namespace saccade
