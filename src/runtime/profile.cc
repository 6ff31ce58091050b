#include "runtime/profile.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <string_view>

#include "core/check.h"
#include "runtime/replays.h"

namespace saccade {
namespace {

constexpr int kWarmUps = 10;        // inferences
constexpr int kGraphReplays = 100;  // of the whole graph

// Only the prefix multiplies enough to run into the GPU's power limit, and only by itself.
constexpr double kPauseMs = 6;

/// The ops of a section.
struct Range {
  int begin;
  int end;

  int size() const { return end - begin; }
};

std::vector<Range> ranges(const OpTrace& trace) {
  std::vector<Range> all;
  for (std::size_t i = 0; i < trace.sections.size(); ++i) {
    const bool last = i + 1 == trace.sections.size();
    all.push_back(
        {trace.sections[i].first_op, last ? trace.size() : trace.sections[i + 1].first_op});
  }
  return all;
}

bool alike(const OpTrace& trace, const Range& a, const Range& b) {
  const auto ops = trace.ops.begin();
  return std::equal(ops + a.begin, ops + a.end, ops + b.begin, ops + b.end,
                    [](const OpRecord& x, const OpRecord& y) {
                      return std::string_view(x.op) == y.op && x.shape == y.shape;
                    });
}

/// Ops share a time as others shared theirs; evenly where those took none.
void share(double time, const double* others, int count, std::vector<double>& times) {
  const double sum = std::accumulate(others, others + count, 0.0);
  const std::vector<double> weights(others, others + count);  // `times` may hold the others
  for (const double weight : weights) {
    times.push_back(sum > 0 ? time * weight / sum : time / count);
  }
}

}  // namespace

std::vector<double> marginal_times(const OpTrace& trace,
                                   const std::function<double(int)>& measure) {
  const std::vector<Range> sections = ranges(trace);
  std::vector<double> times;
  double before = 0;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    const Range& section = sections[i];
    if (i >= 2 && section.size() > 0 && alike(trace, section, sections[i - 1]) &&
        alike(trace, section, sections[i - 2])) {
      const double now = measure(section.end);
      share(now - before, times.data() + sections[i - 1].begin, section.size(), times);
      before = now;
      continue;
    }
    for (int op = section.begin; op < section.end; ++op) {
      const double now = measure(op + 1);
      times.push_back(now - before);
      before = now;
    }
  }
  return times;
}

std::vector<ProfileRow> sum_up(const std::vector<ProfiledOp>& ops, bool by_op) {
  std::vector<ProfileRow> rows;
  for (const ProfiledOp& op : ops) {
    const std::string name = by_op ? op.record.op : "";
    const std::string shape = by_op ? op.record.shape : "";
    auto row = std::find_if(rows.begin(), rows.end(), [&](const ProfileRow& r) {
      return r.stage == op.stage && r.op == name && r.shape == shape;
    });
    if (row == rows.end()) row = rows.insert(rows.end(), {op.stage, name, shape, 0, 0, 0});
    ++row->count;
    row->us += op.us;
    row->floor_us += 1e3 * floor_ms(op.record);
  }
  return rows;
}

ProfileReport profile(const ProfileOptions& options) {
  SACCADE_CHECK(options.replays >= 1 && options.replays <= 1000, "profile",
                "replays must be from 1 to 1000, got ", options.replays);
  const std::shared_ptr<const Stream> stream = open_stream(options.of.load.device);
  SACCADE_CHECK(stream->device == Device::kCuda, "profile",
                "only a GPU is profiled; saccade bench times the parts of an inference on the CPU");
  BenchPolicy bench(options.of);
  const Runner& runner = bench.policy().runner;
  const int views = bench.views();
  const int tokens = bench.tokens();
  for (int i = 0; i < kWarmUps; ++i) bench.infer();
  bench.write_inputs();

  ProfileReport report;
  report.policy = bench.policy().info;
  report.gpu = gpu_info(*stream);
  report.views = views;
  report.prompt_tokens = tokens;
  const cuda::Graph lead_in = runner.record(Part::kVision, views, tokens);
  ReplayTimer timer(bench.policy(), lead_in, std::max(options.replays, kGraphReplays));
  const cuda::Graph whole = runner.record(Part::kAll, views, tokens);
  report.graph_us = 1e3 * spread_of(timer.run(whole, tokens, kGraphReplays).ms).p50;

  // Each part in a graph of its own: behind milliseconds of others, an op's few microseconds would
  // drown in what those vary by.
  for (const Part part : {Part::kVision, Part::kPrefix, Part::kSteps}) {
    OpTrace trace;
    trace.visible_keys = views * bench.policy().engine.dims.vision.tokens() + tokens;
    runner.record(part, views, tokens, &trace);
    const std::vector<double> times = marginal_times(trace, [&](int ops) {
      OpTrace beginning;
      beginning.limit = ops;
      const Progress& progress = options.of.load.progress;
      const std::string what = std::string("profiling ") + trace.sections[0].name;
      if (progress) progress(what, std::uint64_t(ops), std::uint64_t(trace.size()));
      const cuda::Graph graph = runner.record(part, views, tokens, &beginning);
      const auto replays = part == Part::kPrefix
                               ? timer.run_apart(graph, tokens, options.replays, kPauseMs)
                               : timer.run(graph, tokens, options.replays);
      return 1e3 * spread_of(replays.ms).p50;
    });
    for (int op = 0; op < trace.size(); ++op) {
      const auto at = std::size_t(op);
      report.ops.push_back({trace.sections[0].name, trace.ops[at], times[at]});
    }
  }
  report.rows = sum_up(report.ops, true);
  report.stages = sum_up(report.ops, false);
  return report;
}

}  // namespace saccade
