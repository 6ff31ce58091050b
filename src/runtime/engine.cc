#include "runtime/engine.h"

#include "core/check.h"
#include "runtime/features.h"

namespace saccade {

std::vector<float> flow_times(Mode mode, int steps) {
  std::vector<float> times(std::size_t(steps), 1.0f);
  const float dt = -1.0f / float(steps);
  for (int s = 1; s < steps; ++s) {
    const auto i = std::size_t(s);
    times[i] = mode == Mode::kLerobot ? float(1.0 + s * (-1.0 / steps)) : times[i - 1] + dt;
  }
  return times;
}

int max_prompt_tokens(const io::PolicyConfig& config, Model model) {
  return config.max_prompt_tokens.value_or(model == Model::kPi0 ? 48 : 200);
}

Blueprint make_blueprint(const io::CheckpointFiles& files, const io::PolicyConfig& config,
                         const EngineOptions& options) {
  const std::string name = files.weights.string();
  Blueprint blueprint;
  blueprint.source =
      files.layout == "orbax" ? io::open_orbax(files.weights) : io::open_safetensors(files.weights);
  const models::TensorShapes shapes = shapes_of(*blueprint.source);
  blueprint.model = models::detect_model(shapes, name);
  SACCADE_CHECK(!config.model || *config.model == blueprint.model, "load", name,
                " holds the weights of ", name_of(blueprint.model), ", but ",
                name_of(*config.model), " is asked for");
  blueprint.dims =
      models::derive_dims(blueprint.model, shapes, config.vision_heads, blueprint.warnings);
  const int image_size = blueprint.dims.vision.image_size;
  SACCADE_CHECK(!config.image_size || *config.image_size == image_size, "load",
                files.config.string(), " says images of ", config.image_size.value_or(0),
                " pixels, the position table of ", name, " is made for ", image_size);

  models::PiPlan plan;
  plan.max_views = options.max_views;
  plan.max_tokens = max_prompt_tokens(config, blueprint.model);
  plan.actions = config.chunk;
  plan.activations = options.precision == Precision::kF32 ? DType::kF32 : DType::kBf16;
  plan.prefix_output = options.prefix_output;
  plan.periods = {config.min_period, config.max_period};
  plan.times = options.times.empty() ? flow_times(config.mode, config.steps) : options.times;
  blueprint.pi = std::make_unique<models::Pi>(blueprint.dims, plan);
  blueprint.pi->declare(blueprint.weights);
  blueprint.is_unused = [dims = blueprint.dims,
                         prefix_output = options.prefix_output](const std::string& tensor) {
    return models::Pi::is_unused(dims, prefix_output, tensor);
  };
  return blueprint;
}

LoadedWeights load_weights(const Blueprint& blueprint, const io::CheckpointFiles& files,
                           const EngineOptions& options) {
  return load_weights(*blueprint.source, blueprint.weights, blueprint.is_unused, options.precision,
                      files.weights.string(), name_of(blueprint.model), options.progress);
}

Engine make_engine(Blueprint blueprint, const io::CheckpointFiles& files,
                   const io::PolicyConfig& config, const EngineOptions& options) {
  Engine engine;
  engine.model = blueprint.model;
  engine.dims = blueprint.dims;
  engine.max_prompt_tokens = max_prompt_tokens(config, blueprint.model);
  engine.warnings = blueprint.warnings;
  engine.weights = load_weights(blueprint, files, options);
  engine.pi = std::move(blueprint.pi);

  Arena size = Arena::measuring();
  engine.pi->allocate(size);
  engine.activations = Arena(size.used_bytes());
  engine.pi->allocate(engine.activations);
  engine.pi->prepare(engine.stream);
  engine.weights.load_only = Arena();
  return engine;
}

PolicyInfo describe(const io::CheckpointFiles& files, const io::PolicyConfig& config,
                    const Engine& engine, Precision precision) {
  PolicyInfo info;
  info.model = engine.model;
  info.mode = config.mode;
  info.precision = precision;
  info.layout = files.layout;
  info.steps = config.steps;
  info.chunk = config.chunk;
  info.state_dim = config.state_dim.value_or(0);
  info.max_action_dim = engine.dims.max_action_dim;
  // Pi0.5 has no state projection to tell; both references pad states to the actions' extent.
  info.max_state_dim =
      engine.dims.max_state_dim > 0 ? engine.dims.max_state_dim : engine.dims.max_action_dim;
  info.action_dim = action_columns(config, info.max_action_dim);
  info.image_size = engine.dims.vision.image_size;
  info.max_prompt_tokens = engine.max_prompt_tokens;
  info.state_in_prompt = engine.model == Model::kPi05 && config.state_in_prompt.value_or(true);
  info.cameras = config.cameras;
  info.action_names = config.action_names;
  info.parameters = engine.weights.parameters;
  info.weight_bytes = engine.weights.policy.used_bytes();
  info.warnings = config.warnings;
  info.warnings.insert(info.warnings.end(), engine.warnings.begin(), engine.warnings.end());
  return info;
}

}  // namespace saccade
