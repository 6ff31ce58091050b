#include "runtime/bench.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "core/check.h"
#include "cuda/nvml.h"

namespace saccade {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmUps = 10;  // inferences
constexpr int kInferencesOnGpu = 2000;
constexpr int kInferencesOnCpu = 10;
constexpr int kPartReplays = 100;
constexpr int kPromptChanges = 20;
constexpr int kSettled = 3;  // inferences from which on a prompt counts as usual

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// The kernel counts a process's start in ticks since the machine's.
double ms_since_process_start() {
  constexpr int kStartField = 22;
  constexpr int kFirstBehindName = 3;
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::istringstream fields(text.substr(text.rfind(')') + 1));  // a name may hold anything
  std::string field;
  for (int i = kFirstBehindName; i <= kStartField; ++i) fields >> field;
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  const double start = std::stod(field) / double(sysconf(_SC_CLK_TCK));
  return 1e3 * (double(now.tv_sec) + 1e-9 * double(now.tv_nsec) - start);
}

double median(std::vector<double> times) { return spread_of(std::move(times)).p50; }

std::vector<PartReport> parts_without_times(const Floor& floor) {
  std::vector<PartReport> parts(3);
  parts[0].name = "vision";
  parts[0].floor = floor.vision;
  parts[1].name = "prefix";
  parts[1].floor = floor.prefix;
  parts[2].name = "steps";
  parts[2].floor = floor.steps;
  return parts;
}

/// On the CPU every inference reports its parts.
void measure_on_cpu(BenchPolicy& bench, int inferences, BenchReport& report) {
  std::vector<double> wall;
  std::vector<std::vector<double>> parts(report.parts.size());
  for (int i = 0; i < inferences; ++i) {
    wall.push_back(bench.infer());
    for (std::size_t part = 0; part < parts.size(); ++part) {
      parts[part].push_back(bench.times().at(part).ms);
    }
  }
  report.wall = spread_of(std::move(wall));
  for (std::size_t part = 0; part < parts.size(); ++part) {
    report.parts[part].p50_ms = median(std::move(parts[part]));
  }
}

class GpuBench {
 public:
  GpuBench(BenchPolicy& bench, const BenchOptions& options, const cuda::DeviceInfo& before)
      : bench_(bench), options_(options), graph_(graph_for(bench.tokens())) {
    const cuda::DeviceInfo now = cuda::device_info();
    gpu_.gpu = gpu_info(bench.policy().engine.stream);
    gpu_.kernels = graph_.kernels();
    gpu_.overlapping_edges = graph_.overlapping_edges();
    gpu_.policy_bytes = before.free_bytes - std::min(before.free_bytes, now.free_bytes);
    gpu_.used_bytes = now.memory_bytes - now.free_bytes;
  }

  void measure(BenchReport& report) {
    ReplayTimer timer(bench_.policy(), graph_, std::max(options_.replays, kPartReplays));
    gpu_.clock_before_mhz = cuda::sm_clock_mhz();
    const std::uint64_t allocations = cuda::allocations();
    const std::uint64_t graphs = cuda::Graph::recorded();
    replay(timer);
    report.wall = wall(options_.inferences.value_or(kInferencesOnGpu));
    gpu_.clock_after_mhz = cuda::sm_clock_mhz();
    change_prompts();
    gpu_.allocations = cuda::allocations() - allocations;
    gpu_.recorded_graphs = cuda::Graph::recorded() - graphs;
    measure_parts(timer, report.parts);
    report.gpu = gpu_;
  }

 private:
  const cuda::Graph& graph_for(int tokens) {
    return bench_.policy().runner.graph(bench_.views(), tokens);
  }

  void replay(ReplayTimer& timer) {
    bench_.write_inputs();
    const auto result = timer.run(graph_, bench_.tokens(), options_.replays,
                                  [&] { gpu_.clock_during_mhz = cuda::sm_clock_mhz(); });
    SACCADE_CHECK(result.finite, "bench", "the actions of a replay are not finite");
    gpu_.same_bits = gpu_.same_bits && result.same_bits;
    gpu_.replay = spread_of(result.ms);
  }

  Spread wall(int inferences) {
    std::vector<double> times;
    bench_.infer();
    const std::vector<float> expected = bench_.actions();
    for (int i = 0; i < inferences; ++i) {
      times.push_back(bench_.infer());
      gpu_.same_bits = gpu_.same_bits && bench_.actions() == expected;
    }
    return spread_of(std::move(times));
  }

  /// Goes to a prompt and back, again and again.
  NewPrompt change_prompt(int tokens) {
    const int usual_tokens = bench_.tokens();
    std::vector<double> first, usual;
    for (int i = 0; i < kPromptChanges; ++i) {
      bench_.set_tokens(tokens);
      first.push_back(bench_.infer());
      for (int j = 0; j < kSettled; ++j) usual.push_back(bench_.infer());
      bench_.set_tokens(usual_tokens);
      for (int j = 0; j < kSettled; ++j) bench_.infer();
    }
    return {tokens, median(std::move(first)), median(std::move(usual))};
  }

  /// Every length but the present one, the nearest first, decides which prompts are tried.
  void change_prompts() {
    const int tokens = bench_.tokens();
    const int most = bench_.policy().info.max_prompt_tokens;
    std::optional<int> same, other;
    for (int distance = 1; distance <= most; ++distance) {
      for (const int candidate : {tokens + distance, tokens - distance}) {
        if (candidate < 1 || candidate > most) continue;
        std::optional<int>& wanted = &graph_for(candidate) == &graph_ ? same : other;
        if (!wanted) wanted = candidate;
      }
    }
    if (same) gpu_.same_graph = change_prompt(*same);
    if (other) gpu_.other_graph = change_prompt(*other);
  }

  void measure_parts(ReplayTimer& timer, std::vector<PartReport>& parts) {
    bench_.write_inputs();
    const std::pair<Part, std::size_t> order[] = {
        {Part::kVision, 0}, {Part::kPrefix, 1}, {Part::kSteps, 2}};
    for (const auto& [part, i] : order) {
      const cuda::Graph graph =
          bench_.policy().runner.record(part, bench_.views(), bench_.tokens());
      parts[i].kernels = graph.kernels();
      const auto result = timer.run_apart(graph, bench_.tokens(), kPartReplays, gpu_.replay.p50);
      parts[i].p50_ms = median(result.ms);
    }
  }

  BenchPolicy& bench_;
  const BenchOptions& options_;
  const cuda::Graph& graph_;
  GpuReport gpu_;
};

}  // namespace

BenchReport bench(const BenchOptions& options) {
  constexpr int kMost = 1'000'000;
  SACCADE_CHECK(options.replays >= 1 && options.replays <= kMost, "bench",
                "replays must be from 1 to ", kMost, ", got ", options.replays);
  const auto start = Clock::now();
  const bool wants_gpu = chosen_device(options.of.load.device) == Device::kCuda;
  cuda::DeviceInfo before;
  if (wants_gpu) before = cuda::device_info();

  BenchPolicy policy(options.of);
  BenchReport report;
  report.load_ms = ms_since(start);
  policy.infer();
  report.first_action_ms = ms_since_process_start();
  report.policy = policy.policy().info;
  report.views = policy.views();
  report.prompt_tokens = policy.tokens();
  report.outliers = options.of.outliers;
  report.frame_height = options.of.frame_height;
  report.frame_width = options.of.frame_width;
  report.parts = parts_without_times(policy.floor());
  if (!wants_gpu) {
    measure_on_cpu(policy, options.inferences.value_or(kInferencesOnCpu), report);
    return report;
  }
  for (int i = 0; i < kWarmUps; ++i) policy.infer();
  GpuBench(policy, options, before).measure(report);
  return report;
}

}  // namespace saccade
