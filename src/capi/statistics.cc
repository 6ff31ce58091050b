#include "capi/statistics.h"

#include <algorithm>
#include <cmath>

namespace saccade::capi {
namespace {

/// The smallest value that at least `share` of all do not exceed.
double percentile(std::vector<double>& values, double share) {
  const auto rank = std::size_t(std::ceil(share * double(values.size())));
  const auto at = values.begin() + std::ptrdiff_t(std::max<std::size_t>(rank, 1) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

void Statistics::Stage::add(double ms) {
  if (window.size() < SACCADE_STATS_WINDOW) {
    last = window.size();
    window.push_back(ms);
    return;
  }
  last = (last + 1) % window.size();
  window[last] = ms;
}

saccade_stage_stats Statistics::Stage::report() const {
  std::vector<double> values = window;
  return {name.c_str(), values.size(), window[last], percentile(values, 0.5),
          percentile(values, 0.99)};
}

Statistics::Stage& Statistics::stage(const std::string& name) {
  for (Stage& stage : stages_) {
    if (stage.name == name) return stage;
  }
  Stage& added = stages_.emplace_back();
  added.name = name;
  added.window.reserve(SACCADE_STATS_WINDOW);
  return added;
}

std::vector<saccade_stage_time> Statistics::add_inference(std::span<const StageTime> times) {
  const std::lock_guard lock(mutex_);
  std::vector<saccade_stage_time> named;
  for (const StageTime& time : times) {
    Stage& target = stage(time.stage);
    target.add(time.ms);
    named.push_back({target.name.c_str(), time.ms});
  }
  ++inferences_;
  return named;
}

void Statistics::add_error() {
  const std::lock_guard lock(mutex_);
  ++errors_;
}

void Statistics::report(saccade_stats& stats) const {
  const std::lock_guard lock(mutex_);
  std::vector<saccade_stage_stats> stages;
  for (const Stage& stage : stages_) stages.push_back(stage.report());
  stats.inferences = inferences_;
  stats.errors = errors_;
  stats.stage_count = stages.size();
  std::copy_n(stages.begin(), std::min(stats.stage_capacity, stages.size()), stats.stages);
}

}  // namespace saccade::capi
