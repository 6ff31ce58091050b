#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ops/trace.h"
#include "runtime/bench_policy.h"
#include "saccade/policy.h"

namespace saccade {

/// One op of an inference.
struct ProfiledOp {
  std::string stage;  // "vision", "prefix" or "steps"
  OpRecord record;
  double us = 0;  // what it adds to the time of all ops in front of it
};

/// All ops of one stage, kind and shape.
struct ProfileRow {
  std::string stage;
  std::string op;
  std::string shape;
  int count = 0;
  double us = 0;
  double floor_us = 0;
};

struct ProfileReport {
  PolicyInfo policy;
  GpuInfo gpu;
  int views = 0;
  int prompt_tokens = 0;
  double graph_us = 0;  // of the whole graph, measured by itself
  std::vector<ProfiledOp> ops;
  std::vector<ProfileRow> rows;    // in the order in which they first run
  std::vector<ProfileRow> stages;  // totals, without op and shape
};

struct ProfileOptions {
  BenchCase of;
  int replays = 15;  // of every measured beginning of the graph; their median counts
};

/// What each op adds to the time of those in front of it, so that all add up to measure(all).
/// `measure(n)` is the time of the first n ops. Where a section repeats the two in front of it, it
/// is measured as a whole, and its ops share its time as they did there.
std::vector<double> marginal_times(const OpTrace&, const std::function<double(int)>& measure);

/// Sums up ops that are alike; `by_op` false: only by stage.
std::vector<ProfileRow> sum_up(const std::vector<ProfiledOp>&, bool by_op);

/// Times the recorded graph op by op. Needs a GPU.
ProfileReport profile(const ProfileOptions&);

}  // namespace saccade
