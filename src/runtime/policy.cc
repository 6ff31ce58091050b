#include "saccade/policy.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/check.h"
#include "io/policy_config.h"
#include "io/tokenizer.h"
#include "runtime/cameras.h"
#include "runtime/engine.h"
#include "runtime/features.h"
#include "runtime/prompt.h"
#include "saccade/ops/image.h"
#include "saccade/ops/sample.h"

namespace saccade {
namespace {

/// Collects the wall time between two marks under the name of the later one.
class Stopwatch {
 public:
  void mark(const char* stage) {
    const auto now = std::chrono::steady_clock::now();
    times_.push_back({stage, std::chrono::duration<double, std::milli>(now - last_).count()});
    last_ = now;
  }
  std::vector<StageTime> take() { return std::move(times_); }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::vector<StageTime> times_;
};

PromptForm prompt_form(const io::PolicyConfig& config, const PolicyInfo& info) {
  if (info.state_in_prompt) return PromptForm::kStateInText;
  const bool lerobot_pi0 = config.mode == Mode::kLerobot && info.model == Model::kPi0;
  return lerobot_pi0 ? PromptForm::kLerobotPi0 : PromptForm::kOpenpiPi0;
}

}  // namespace

struct Policy::State {
  io::PolicyConfig config;
  Engine engine;
  PolicyInfo info;
  std::optional<io::Tokenizer> tokenizer;
  std::string tokenizer_error;  // why there is none

  void open_tokenizer(const std::filesystem::path& given, const std::filesystem::path& checkpoint,
                      int vocabulary);
  int see_frames(const std::map<std::string, Frame>&);
  std::vector<int> tokenize(const Observation&, std::span<const double> normalized_state,
                            std::vector<std::string>& warnings) const;
  void write_tokens(const std::vector<int>&);
  void write_state(std::span<const double> normalized_state);
  void write_noise(const Observation&);
};

/// Resizes the frames into the model's input and returns how many there are.
int Policy::State::see_frames(const std::map<std::string, Frame>& given) {
  const std::vector<Frame> frames = ordered_frames(config, given);
  const Tensor pixels = engine.pi->inputs().pixels;
  const int size = info.image_size;
  const auto filter =
      config.mode == Mode::kOpenpi ? ops::ResizeFilter::kAntialias : ops::ResizeFilter::kBilinear;
  for (std::size_t view = 0; view < frames.size(); ++view) {
    // Ops take what they only read through the same mutable tensor as what they write.
    auto* bytes = const_cast<std::uint8_t*>(frames[view].pixels);
    const Tensor frame{
        bytes, {frames[view].height, frames[view].width, 3}, DType::kU8, Device::kCpu};
    ops::resize_with_pad(engine.stream, frame, filter,
                         pixels.rows(int(view), 1).reshaped({3, size, size}));
  }
  return int(frames.size());
}

std::vector<int> Policy::State::tokenize(const Observation& observation,
                                         std::span<const double> normalized_state,
                                         std::vector<std::string>& warnings) const {
  Prompt prompt;
  if (observation.tokens) {
    SACCADE_CHECK(!observation.prompt, "infer", "both a prompt and its tokens are given");
    prompt.tokens = *observation.tokens;
    prompt.full_length = int(prompt.tokens.size());
    prompt.cut = prompt.full_length > info.max_prompt_tokens;
    if (prompt.cut) prompt.tokens.resize(std::size_t(info.max_prompt_tokens));
    SACCADE_CHECK(!prompt.tokens.empty(), "infer", "the list of prompt tokens is empty");
  } else {
    if (!tokenizer) throw InvalidArgument(tokenizer_error);
    SACCADE_CHECK(observation.prompt || !config.default_prompt.empty(), "infer",
                  "neither a prompt nor its tokens are given");
    const std::string text = observation.prompt.value_or(config.default_prompt);
    prompt = make_prompt(*tokenizer, prompt_form(config, info), text, normalized_state,
                         info.max_prompt_tokens);
  }
  if (prompt.cut) {
    warnings.push_back("the prompt has " + std::to_string(prompt.full_length) +
                       " tokens and is cut to " + std::to_string(info.max_prompt_tokens));
  }
  return prompt.tokens;
}

void Policy::State::write_tokens(const std::vector<int>& tokens) {
  const int vocabulary = engine.dims.vocabulary;
  for (int token : tokens) {
    SACCADE_CHECK(token >= 0 && token < vocabulary, "infer", "prompt token ", token,
                  " is outside the vocabulary of ", vocabulary);
  }
  std::copy(tokens.begin(), tokens.end(), engine.pi->inputs().tokens.as<int>());
}

void Policy::State::write_state(std::span<const double> normalized_state) {
  const Tensor state = engine.pi->inputs().state;
  if (!state) return;
  auto* values = state.as<float>();
  std::fill_n(values, state.shape[1], 0.0f);
  std::copy(normalized_state.begin(), normalized_state.end(), values);
}

void Policy::State::write_noise(const Observation& observation) {
  const Tensor x = engine.pi->inputs().x;
  if (!observation.noise) return ops::normal_noise(engine.stream, observation.seed, x);
  SACCADE_CHECK(std::int64_t(observation.noise->size()) == x.shape.size(), "infer",
                "the noise has ", observation.noise->size(), " values, it must be ", x.shape.str());
  for (float value : *observation.noise) {
    SACCADE_CHECK(std::isfinite(value), "infer", "the noise holds a value that is not finite");
  }
  std::copy(observation.noise->begin(), observation.noise->end(), x.as<float>());
}

/// Finds and opens the tokenizer, or says why there is none: whoever gives tokens needs none, so
/// only one that was asked for is an error at once.
void Policy::State::open_tokenizer(const std::filesystem::path& given,
                                   const std::filesystem::path& checkpoint, int vocabulary) {
  try {
    const std::filesystem::path path = io::find_tokenizer(given, checkpoint);
    tokenizer.emplace(path);
    SACCADE_CHECK(tokenizer->vocabulary() <= vocabulary, "load", path.string(), " has ",
                  tokenizer->vocabulary(), " tokens, the checkpoint's embedding ", vocabulary);
  } catch (const InvalidArgument& error) {
    if (!given.empty()) throw;
    tokenizer.reset();
    tokenizer_error = error.what();
  }
}

Policy Policy::load(const std::filesystem::path& checkpoint, const LoadOptions& options) {
  auto state = std::make_unique<State>();
  io::PolicyConfig& config = state->config;
  const io::CheckpointFiles files = io::find_checkpoint(checkpoint);
  config = io::read_policy_config(files, options);

  EngineOptions engine_options;
  engine_options.precision = options.precision;
  engine_options.max_views = int(config.cameras.size());
  engine_options.progress = options.progress;
  // All that can be refused is refused before the weights are read.
  Blueprint blueprint = make_blueprint(files, config, engine_options);
  io::set_openpi_normalization(config, blueprint.model);
  check_statistics(config, blueprint.dims.max_action_dim);
  state->open_tokenizer(options.tokenizer, files.root, blueprint.dims.vocabulary);

  state->engine = make_engine(std::move(blueprint), files, config, engine_options);
  state->info = describe(files, config, state->engine, options.precision);
  return Policy(std::move(state));
}

Policy::Policy(std::unique_ptr<State> state) : state_(std::move(state)) {}
Policy::Policy(Policy&&) noexcept = default;
Policy& Policy::operator=(Policy&&) noexcept = default;
Policy::~Policy() = default;

const PolicyInfo& Policy::info() const { return state_->info; }

ActionChunk Policy::infer(const Observation& observation) {
  State& state = *state_;
  models::Pi& pi = *state.engine.pi;
  const Stream& stream = state.engine.stream;
  Stopwatch watch;

  ActionChunk chunk;
  const PreparedState robot =
      prepare_state(state.config, observation.state, state.info.max_state_dim);
  chunk.tokens = state.tokenize(observation, robot.normalized, chunk.warnings);
  state.write_tokens(chunk.tokens);
  state.write_state(robot.normalized);
  state.write_noise(observation);
  const int views = state.see_frames(observation.frames);
  watch.mark("preprocess");

  pi.see(stream, views);
  watch.mark("vision");
  pi.read_prompt(stream, views, int(chunk.tokens.size()));
  watch.mark("prefix");
  for (int step = 0; step < pi.steps(); ++step) pi.step(stream, step);
  watch.mark("steps");

  const Tensor x = pi.inputs().x;
  chunk.actions = state.info.chunk;
  chunk.action_dim = state.info.action_dim;
  chunk.values = finish_actions(state.config, {x.as<float>(), std::size_t(x.shape.size())},
                                chunk.actions, state.info.max_action_dim, robot.raw);
  watch.mark("postprocess");
  chunk.times = watch.take();
  return chunk;
}

}  // namespace saccade
