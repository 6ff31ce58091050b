#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "saccade.h"
#include "saccade/policy.h"

namespace saccade::capi {

/// How long the stages of the latest inferences took. Safe to use from several threads.
class Statistics {
 public:
  /// Returns the names of the stages, which live as long as this object.
  std::vector<saccade_stage_time> add_inference(std::span<const StageTime>);
  void add_error();

  /// Fills all but the size.
  void report(saccade_stats&) const;

 private:
  struct Stage {
    std::string name;
    std::vector<double> window;  // a ring, once it is full
    std::size_t last = 0;

    void add(double ms);
    saccade_stage_stats report() const;
  };

  Stage& stage(const std::string& name);

  mutable std::mutex mutex_;
  std::uint64_t inferences_ = 0;
  std::uint64_t errors_ = 0;
  std::deque<Stage> stages_;  // in the order in which they came; a deque does not move them
};

}  // namespace saccade::capi
