#include "runtime/loaded_policy.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/check.h"
#include "runtime/auto_precision.h"
#include "runtime/cameras.h"
#include "runtime/realtime.h"
#include "saccade/ops/sample.h"

namespace saccade {
namespace {

ops::ResizeFilter resize_filter(Mode mode) {
  return mode == Mode::kOpenpi ? ops::ResizeFilter::kAntialias : ops::ResizeFilter::kBilinear;
}

EngineOptions engine_options(const io::PolicyConfig& config, const LoadOptions& options) {
  EngineOptions engine;
  engine.stream = open_stream(options.device);
  if (!options.auto_precision) engine.precision = precision_on(*engine.stream, options);
  engine.max_views = int(config.cameras.size());
  engine.progress = options.progress;
  return engine;
}

/// Statistics that change values little, and cost what a checkpoint's cost.
io::FeatureNormalization synthetic_normalization(int dims) {
  const std::vector<double> ones(std::size_t(dims), 1.0);
  const std::vector<double> minus_ones(std::size_t(dims), -1.0);
  return {io::Normalization::kQuantiles, 0, {{"q01", minus_ones}, {"q99", ones}}};
}

}  // namespace

PolicyPlan plan_policy(const std::filesystem::path& checkpoint, const LoadOptions& options) {
  PolicyPlan plan;
  plan.files = io::find_checkpoint(checkpoint);
  plan.config = io::read_policy_config(plan.files, options);
  plan.options = engine_options(plan.config, options);
  plan.auto_precision = options.auto_precision;
  plan.blueprint = make_blueprint(plan.files, plan.config, plan.options);
  io::set_openpi_normalization(plan.config, plan.blueprint.model);
  check_statistics(plan.config, plan.blueprint.dims.max_action_dim);
  return plan;
}

PolicyPlan plan_synthetic_policy(Model model, int views, const LoadOptions& options) {
  constexpr auto kWhere = "synthetic";
  SACCADE_CHECK(!options.model && !options.vision_heads && options.openpi_config.empty() &&
                    options.statistics.empty() && options.tokenizer.empty(),
                kWhere,
                "a synthetic policy reads no file: model, vision heads, openpi config, statistics "
                "and tokenizer must not be given");
  PolicyPlan plan;
  plan.files.layout = "synthetic";
  io::PolicyConfig& config = plan.config;
  config.model = model;
  config.mode = options.mode.value_or(Mode::kOpenpi);
  io::override_extents(options, config);
  for (int view = 0; view < views; ++view) {
    config.cameras.push_back("camera_" + std::to_string(view));
  }
  config.camera_names = config.cameras;
  plan.options = engine_options(config, options);
  plan.auto_precision = options.auto_precision;
  plan.blueprint = make_synthetic_blueprint(model, config, plan.options);
  const int dims = plan.blueprint.dims.max_action_dim;
  config.state = synthetic_normalization(dims);
  config.actions = config.state;
  return plan;
}

PolicyPlan with_precision(const PolicyPlan& plan, const Precisions& precision) {
  PolicyPlan other;
  other.files = plan.files;
  other.config = plan.config;
  other.options = plan.options;
  other.options.precision = precision;
  other.blueprint = plan.blueprint.source ? make_blueprint(other.files, other.config, other.options)
                                          : make_synthetic_blueprint(plan.blueprint.model,
                                                                     other.config, other.options);
  other.notes = plan.notes;
  return other;
}

LoadedPolicy::LoadedPolicy(PolicyPlan plan)
    : LoadedPolicy(Decided{decide_precision(std::move(plan))}) {}

LoadedPolicy::LoadedPolicy(Decided decided)
    : config(std::move(decided.plan.config)),
      engine(make_engine(std::move(decided.plan.blueprint), config, decided.plan.options)),
      runner(engine, resize_filter(config.mode)),
      info(describe(decided.plan.files, config, engine, decided.plan.options.precision)) {
  info.notes = std::move(decided.plan.notes);
}

void LoadedPolicy::write_inputs(const Observation& observation, const PreparedState& robot,
                                std::span<const int> tokens) {
  const std::vector<Frame> frames = ordered_frames(config, engine.stream, observation.frames);
  write_tokens(tokens);
  write_state(robot.normalized);
  check_noise(observation);
  write_realtime(observation, robot);
  // Nothing fails from here on: the caller's frames are being copied.
  runner.set_frames(frames, observation.stream);
  write_noise(observation);
}

void LoadedPolicy::run(std::span<const int> tokens, std::vector<StageTime>& times) {
  runner.run(int(tokens.size()), times);
}

std::vector<float> LoadedPolicy::normalized_actions() const {
  const Tensor x = engine.host_inputs.x;
  std::vector<float> actions;
  for (int row = 0; row < x.shape[0]; ++row) {
    const float* values = x.as<float>() + std::int64_t(row) * x.shape[1];
    actions.insert(actions.end(), values, values + info.action_dim);
  }
  return actions;
}

std::vector<float> LoadedPolicy::read_actions(const PreparedState& robot) const {
  const Tensor x = engine.host_inputs.x;
  return finish_actions(config, {x.as<float>(), std::size_t(x.shape.size())}, info.chunk,
                        info.max_action_dim, robot.raw);
}

void LoadedPolicy::write_tokens(std::span<const int> tokens) {
  const int vocabulary = engine.dims.vocabulary;
  for (int token : tokens) {
    SACCADE_CHECK(token >= 0 && token < vocabulary, "infer", "prompt token ", token,
                  " is outside the vocabulary of ", vocabulary);
  }
  std::copy(tokens.begin(), tokens.end(), engine.host_inputs.tokens.as<int>());
}

void LoadedPolicy::write_state(std::span<const double> normalized_state) {
  const Tensor state = engine.host_inputs.state;
  if (!state) return;
  auto* values = state.as<float>();
  std::fill_n(values, state.shape[1], 0.0f);
  std::copy(normalized_state.begin(), normalized_state.end(), values);
}

void LoadedPolicy::write_realtime(const Observation& observation, const PreparedState& robot) {
  if (!observation.realtime) return write_no_guidance(engine.host_inputs);
  const RealTime& realtime = *observation.realtime;
  check_realtime(realtime, info.chunk, info.action_dim);
  const std::vector<float> previous =
      normalize_actions(config, realtime.previous, info.max_action_dim, robot.raw);
  write_guidance(engine.host_inputs, previous, row_weights(realtime, info.chunk),
                 engine.pi->times(), realtime.max_weight);
}

void LoadedPolicy::check_noise(const Observation& observation) const {
  if (!observation.noise) return;
  const Tensor x = engine.host_inputs.x;
  SACCADE_CHECK(std::int64_t(observation.noise->size()) == x.shape.size(), "infer",
                "the noise has ", observation.noise->size(), " values, it must be ", x.shape.str());
  for (float value : *observation.noise) {
    SACCADE_CHECK(std::isfinite(value), "infer", "the noise holds a value that is not finite");
  }
}

void LoadedPolicy::write_noise(const Observation& observation) {
  const Tensor x = engine.host_inputs.x;
  if (!observation.noise) return ops::normal_noise(Stream{}, observation.seed, 0, 1, x);
  std::copy(observation.noise->begin(), observation.noise->end(), x.as<float>());
}

}  // namespace saccade
