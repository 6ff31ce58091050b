#include "runtime/bench_policy.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "core/check.h"
#include "cuda/device.h"
#include "cuda/nvml.h"

namespace saccade {
namespace {

constexpr auto kWhere = "bench";
constexpr int kViews = 2;
constexpr int kTokens = 20;
constexpr int kMaxViews = 8;
constexpr int kMaxFrameSide = 8192;

void check(const BenchCase& of) {
  SACCADE_CHECK(of.synthetic.has_value() == of.checkpoint.empty(), kWhere,
                "either a checkpoint or a synthetic policy is measured, got ",
                of.synthetic ? "both" : "neither");
  SACCADE_CHECK(of.synthetic || !of.outliers, kWhere,
                "only a synthetic policy is given outliers; saccade synth --outliers writes a "
                "checkpoint that has them");
  SACCADE_CHECK(!of.views || (*of.views >= 1 && *of.views <= kMaxViews), kWhere,
                "views must be from 1 to ", kMaxViews, ", got ", of.views.value_or(0));
  SACCADE_CHECK(of.frame_height >= 1 && of.frame_height <= kMaxFrameSide && of.frame_width >= 1 &&
                    of.frame_width <= kMaxFrameSide,
                kWhere, "a frame must be from 1 x 1 to ", kMaxFrameSide, " x ", kMaxFrameSide,
                " pixels, got ", of.frame_height, " x ", of.frame_width);
}

PolicyPlan plan(const BenchCase& of) {
  check(of);
  PolicyPlan plan = of.synthetic
                        ? plan_synthetic_policy(*of.synthetic, of.views.value_or(kViews), of.load)
                        : plan_policy(of.checkpoint, of.load);
  plan.options.random_outliers = of.outliers;
  const int cameras = int(plan.config.cameras.size());
  SACCADE_CHECK(of.views.value_or(cameras) <= cameras, kWhere, "the policy sees ", cameras,
                " views, ", of.views.value_or(cameras), " are asked for");
  const int most = max_prompt_tokens(plan.config, plan.blueprint.model);
  const int tokens = of.prompt_tokens.value_or(0);
  SACCADE_CHECK(tokens >= 0 && tokens <= most, kWhere, "the policy takes 0 to ", most,
                " prompt tokens, ", tokens, " are asked for");
  return plan;
}

/// Values of a state that the policy takes.
int state_dims(const io::PolicyConfig& config, const PolicyInfo& info) {
  if (info.state_dim > 0) return info.state_dim;
  const io::FeatureStatistics& statistics = config.state->statistics;
  if (statistics.empty()) return info.max_state_dim;
  return std::min(int(statistics.begin()->second.size()), info.max_state_dim);
}

}  // namespace

GpuInfo gpu_info(const Stream& stream) {
  const cuda::DeviceInfo device = cuda::device_info();
  return {.name = device.name,
          .driver = cuda::driver_version(),
          .cuda_driver = device.driver,
          .cuda_runtime = device.runtime,
          .arch = stream.arch};
}

BenchPolicy::BenchPolicy(const BenchCase& of) : policy_(plan(of)) {
  const PolicyInfo& info = policy_.info;
  const int views = of.views.value_or(int(info.cameras.size()));
  std::mt19937 random(1);
  const std::size_t frame_bytes = std::size_t(of.frame_height) * std::size_t(of.frame_width) * 3;
  pixels_.resize(frame_bytes * std::size_t(views));
  std::generate(pixels_.begin(), pixels_.end(), [&] { return std::uint8_t(random()); });
  for (int view = 0; view < views; ++view) {
    observation_.frames[info.cameras[std::size_t(view)]] = {
        pixels_.data() + frame_bytes * std::size_t(view), of.frame_height, of.frame_width};
  }
  std::uniform_real_distribution<double> uniform(-1, 1);
  const int dims = state_dims(policy_.config, info);
  for (int i = 0; i < dims; ++i) observation_.state.push_back(uniform(random));
  set_tokens(of.prompt_tokens.value_or(std::min(kTokens, info.max_prompt_tokens)));
}

void BenchPolicy::set_tokens(int count) {
  std::mt19937 random{unsigned(count)};
  std::uniform_int_distribution<int> uniform(0, policy_.engine.dims.vocabulary - 1);
  tokens_.resize(std::size_t(count));
  for (int& token : tokens_) token = uniform(random);
}

PreparedState BenchPolicy::prepare() const {
  return prepare_state(policy_.config, observation_.state, policy_.info.max_state_dim);
}

void BenchPolicy::write_inputs() { policy_.write_inputs(observation_, prepare(), tokens_); }

double BenchPolicy::infer() {
  const auto start = std::chrono::steady_clock::now();
  times_.clear();
  const PreparedState robot = prepare();
  policy_.write_inputs(observation_, robot, tokens_);
  policy_.run(tokens_, times_);
  actions_ = policy_.read_actions(robot);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

Floor BenchPolicy::floor() const {
  const PolicyInfo& info = policy_.info;
  if (info.device == Device::kCpu || info.precision == Precisions(Precision::kF32)) return {};
  return floor_of(policy_.engine.dims, {.views = views(),
                                        .tokens = tokens(),
                                        .actions = info.chunk,
                                        .steps = info.steps,
                                        .precision = info.precision});
}

}  // namespace saccade
