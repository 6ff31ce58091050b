#include "runtime/engine.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "cuda/device.h"
#include "runtime/features.h"
#include "runtime/outliers.h"
#include "runtime/realtime.h"
#include "runtime/weight_sink.h"
#include "saccade/ops/quantize.h"
#include "saccade/ops/sample.h"

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

namespace {

constexpr int kFp8Arch = 90;

DType activation_type(const Precisions& precision) {
  return precision.prefix == Precision::kF32 ? DType::kF32 : DType::kBf16;
}

/// On a GPU, SigLIP in f32 would take longer than everything else; f16 rounds eight times finer
/// than bf16.
DType precise_type(const EngineOptions& options) {
  const bool half =
      options.precision.vision == Precision::kBf16 && options.stream->device == Device::kCuda;
  return half ? DType::kF16 : DType::kF32;
}

void add_model(Blueprint& blueprint, const io::PolicyConfig& config, const EngineOptions& options) {
  models::PiPlan plan;
  plan.max_views = options.max_views;
  plan.max_tokens = max_prompt_tokens(config, blueprint.model);
  plan.actions = config.chunk;
  const Precisions& precision = options.precision;
  if (precision.prefix == Precision::kFp8) plan.prefix = models::Gemma::Operands::kScaled;
  if (precision.expert == Precision::kFp8) plan.expert = models::Gemma::Operands::kScaledWeights;
  plan.activations = activation_type(precision);
  plan.precise = precise_type(options);
  plan.row_step = options.stream->device == Device::kCuda ? kPrefixRowStep : 1;
  plan.prefix_output = options.prefix_output;
  plan.periods = {config.min_period, config.max_period};
  plan.times = options.times.empty() ? flow_times(config.mode, config.steps) : options.times;
  blueprint.pi = std::make_unique<models::Pi>(blueprint.dims, plan);
  blueprint.pi->declare(blueprint.weights);
}

void place(const Blueprint& blueprint, const EngineOptions& options, Arena& policy,
           Arena& load_only) {
  place_weights(blueprint.source.get(), blueprint.weights, weight_types(options), policy,
                load_only);
}

Arena allocate_on(const Stream& stream, std::size_t bytes) {
  if (stream.device == Device::kCpu) return Arena(bytes);
  return Arena(cuda::allocate(bytes), bytes, Device::kCuda);
}

/// Bytes in bf16 of the largest weight that is quantised.
std::size_t largest_unquantized(const models::WeightList& list) {
  std::size_t largest = 0;
  for (const models::WeightSlot& slot : list.slots) {
    if (slot.scales) largest = std::max(largest, std::size_t(slot.shape().size()) * sizeof(bf16));
  }
  return largest;
}

/// Normal values of the deviation that keeps activations of order one; norms' weights near one.
std::uint64_t fill_with_random_weights(const models::WeightList& list, const Stream& stream) {
  const Arena scratch = allocate_on(stream, largest_unquantized(list));
  std::uint64_t parameters = 0;
  for (std::size_t i = 0; i < list.slots.size(); ++i) {
    const models::WeightSlot& slot = list.slots[i];
    const Tensor& target = *slot.target;
    const Shape& shape = target.shape;
    const auto fan_in = shape.rank() == 1 ? 64 : shape.size() / shape[0];
    const Tensor values =
        slot.scales ? Tensor{scratch.data(), shape, DType::kBf16, stream.device} : target;
    ops::normal_noise(stream, i, slot.added, 1 / std::sqrt(float(fan_in)), values);
    if (slot.scales) ops::quantize(stream, values, {target, *slot.scales});
    parameters += std::uint64_t(shape.size());
  }
  if (stream.device == Device::kCuda) cuda::synchronize(stream);  // scratch is freed here
  return parameters;
}

struct Sizes {
  std::size_t weights;
  std::size_t load_only;
  std::size_t unquantized;  // freed before the buffers are taken
  std::size_t buffers;
  std::size_t inputs;
};

Sizes measure(const Blueprint& blueprint, const EngineOptions& options) {
  Arena weights = Arena::measuring();
  Arena load_only = Arena::measuring();
  Arena buffers = Arena::measuring();
  Arena inputs = Arena::measuring();
  place(blueprint, options, weights, load_only);
  blueprint.pi->allocate(buffers, blueprint.pi->allocate_inputs(inputs));
  std::size_t unquantized = largest_unquantized(blueprint.weights);
  if (blueprint.source && unquantized > 0) unquantized = WeightSink::kBlockBytes;
  return {weights.used_bytes(), load_only.used_bytes(), unquantized, buffers.used_bytes(),
          inputs.used_bytes()};
}

/// Nothing is allocated that would not all fit.
void require_memory(const Stream& stream, const Sizes& sizes) {
  if (stream.device == Device::kCpu) return;
  constexpr std::size_t kGraphs = std::size_t{128} << 20;  // the driver's own, for what is recorded
  const std::size_t needed = sizes.weights + sizes.load_only +
                             std::max(sizes.unquantized, sizes.buffers + sizes.inputs + kGraphs);
  const cuda::DeviceInfo info = cuda::device_info();
  if (needed <= info.free_bytes) return;
  throw DeviceError("the policy needs " + std::to_string(needed >> 20) + " MiB of GPU memory, " +
                    std::to_string(info.free_bytes >> 20) + " MiB of " +
                    std::to_string(info.memory_bytes >> 20) + " are free on " + info.name);
}

}  // namespace

Device chosen_device(std::optional<Device> wanted) {
  return wanted.value_or(cuda::device_is_there() ? Device::kCuda : Device::kCpu);
}

std::shared_ptr<const Stream> open_stream(std::optional<Device> wanted) {
  if (chosen_device(wanted) == Device::kCpu) return std::make_shared<const Stream>();
  return cuda::open_stream();
}

bool has_fp8(const Stream& stream) {
  return stream.device == Device::kCpu || cuda::device_info().arch >= kFp8Arch;
}

Precisions precision_on(const Stream& stream, const LoadOptions& options) {
  SACCADE_CHECK(!options.auto_precision, "precision",
                "auto is decided where a policy runs on observations; name a precision here");
  const bool on_cpu = stream.device == Device::kCpu;
  const Precisions precision =
      options.precision.value_or(on_cpu ? Precision::kF32 : Precision::kBf16);
  const bool is_fp8 = precision.prefix == Precision::kFp8 || precision.expert == Precision::kFp8;
  if (!is_fp8 || has_fp8(stream)) return precision;
  const cuda::DeviceInfo device = cuda::device_info();
  fail("precision", "fp8 needs a GPU of compute capability 9.0 or later, ", device.name, " has ",
       device.arch / 10, ".", device.arch % 10);
}

WeightTypes weight_types(const EngineOptions& options) {
  WeightTypes types;
  if (activation_type(options.precision) == DType::kBf16) types.matrix = DType::kBf16;
  if (precise_type(options) == DType::kF16) types.precise = DType::kF16;
  return types;
}

Blueprint make_blueprint(const io::CheckpointFiles& files, const io::PolicyConfig& config,
                         const EngineOptions& options) {
  const std::string name = files.weights.string();
  Blueprint blueprint;
  blueprint.source_name = name;
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
  blueprint.is_unused = [dims = blueprint.dims,
                         prefix_output = options.prefix_output](const std::string& tensor) {
    return models::Pi::is_unused(dims, prefix_output, tensor);
  };
  add_model(blueprint, config, options);
  return blueprint;
}

Blueprint make_synthetic_blueprint(Model model, const io::PolicyConfig& config,
                                   const EngineOptions& options) {
  Blueprint blueprint;
  blueprint.model = model;
  blueprint.dims.model = model;
  if (model == Model::kPi05) blueprint.dims.max_state_dim = 0;
  add_model(blueprint, config, options);
  return blueprint;
}

Engine make_engine(Blueprint blueprint, const io::PolicyConfig& config,
                   const EngineOptions& options) {
  if (blueprint.source) {
    require_weights(*blueprint.source, blueprint.weights, blueprint.is_unused,
                    blueprint.source_name, name_of(blueprint.model));
  }
  const Sizes sizes = measure(blueprint, options);
  const Stream& stream = *options.stream;
  require_memory(stream, sizes);

  Engine engine;
  engine.stream_owner = options.stream;
  engine.stream = stream;
  engine.model = blueprint.model;
  engine.dims = blueprint.dims;
  engine.max_prompt_tokens = max_prompt_tokens(config, blueprint.model);
  engine.warnings = blueprint.warnings;
  engine.weights = allocate_on(stream, sizes.weights);
  Arena load_only = allocate_on(stream, sizes.load_only);
  place(blueprint, options, engine.weights, load_only);
  engine.parameters = blueprint.source ? read_weights(*blueprint.source, blueprint.weights, stream,
                                                      blueprint.source_name, options.progress)
                                       : fill_with_random_weights(blueprint.weights, stream);
  if (options.random_outliers) add_outliers(blueprint.model, blueprint.weights, stream);

  engine.pi = std::move(blueprint.pi);
  engine.buffers = allocate_on(stream, sizes.buffers);
  engine.inputs = allocate_on(stream, sizes.inputs);
  const models::Pi::Inputs inputs = engine.pi->allocate_inputs(engine.inputs);
  engine.pi->allocate(engine.buffers, inputs);
  engine.host_inputs = inputs;
  if (stream.device == Device::kCuda) {
    engine.host_memory = Arena(cuda::allocate_pinned(sizes.inputs), sizes.inputs, Device::kCpu);
    engine.host_inputs = engine.pi->allocate_inputs(engine.host_memory);
  }
  write_no_guidance(engine.host_inputs);
  engine.pi->prepare(stream);
  if (stream.device == Device::kCuda) cuda::synchronize(stream);  // load_only is freed here
  return engine;
}

PolicyInfo describe(const io::CheckpointFiles& files, const io::PolicyConfig& config,
                    const Engine& engine, const Precisions& precision) {
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
  info.device = engine.stream.device;
  info.parameters = engine.parameters;
  info.weight_bytes = engine.weights.used_bytes();
  info.buffer_bytes = engine.buffers.used_bytes() + engine.inputs.used_bytes();
  info.warnings = config.warnings;
  info.warnings.insert(info.warnings.end(), engine.warnings.begin(), engine.warnings.end());
  return info;
}

}  // namespace saccade
