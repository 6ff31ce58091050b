#include "saccade/policy.h"

#include <utility>

#include "core/check.h"
#include "io/policy_config.h"
#include "io/tokenizer.h"
#include "runtime/features.h"
#include "runtime/loaded_policy.h"
#include "runtime/prompt.h"
#include "runtime/stopwatch.h"

namespace saccade {
namespace {

PromptForm prompt_form(const io::PolicyConfig& config, const PolicyInfo& info) {
  if (info.state_in_prompt) return PromptForm::kStateInText;
  const bool lerobot_pi0 = config.mode == Mode::kLerobot && info.model == Model::kPi0;
  return lerobot_pi0 ? PromptForm::kLerobotPi0 : PromptForm::kOpenpiPi0;
}

}  // namespace

struct Policy::State {
  std::optional<LoadedPolicy> policy;
  std::optional<io::Tokenizer> tokenizer;
  std::string tokenizer_error;  // why there is none

  void open_tokenizer(const std::filesystem::path& given, const std::filesystem::path& checkpoint,
                      int vocabulary);
  std::vector<int> tokenize(const Observation&, std::span<const double> normalized_state,
                            std::vector<std::string>& warnings) const;
};

std::vector<int> Policy::State::tokenize(const Observation& observation,
                                         std::span<const double> normalized_state,
                                         std::vector<std::string>& warnings) const {
  const io::PolicyConfig& config = policy->config;
  const PolicyInfo& info = policy->info;
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
  PolicyPlan plan = plan_policy(checkpoint, options);
  // What can be refused is refused before the weights are read.
  state->open_tokenizer(options.tokenizer, plan.files.root, plan.blueprint.dims.vocabulary);
  state->policy.emplace(std::move(plan));
  return Policy(std::move(state));
}

Policy::Policy(std::unique_ptr<State> state) : state_(std::move(state)) {}
Policy::Policy(Policy&&) noexcept = default;
Policy& Policy::operator=(Policy&&) noexcept = default;
Policy::~Policy() = default;

const PolicyInfo& Policy::info() const { return state_->policy->info; }

ActionChunk Policy::infer(const Observation& observation) {
  LoadedPolicy& policy = *state_->policy;
  ActionChunk chunk;
  Stopwatch before(chunk.times);
  const PreparedState robot =
      prepare_state(policy.config, observation.state, policy.info.max_state_dim);
  chunk.tokens = state_->tokenize(observation, robot.normalized, chunk.warnings);
  policy.write_inputs(observation, robot, chunk.tokens);
  before.mark("preprocess");

  policy.run(chunk.tokens, chunk.times);

  Stopwatch after(chunk.times);
  chunk.actions = policy.info.chunk;
  chunk.action_dim = policy.info.action_dim;
  chunk.values = policy.read_actions(robot);
  after.mark("postprocess");
  return chunk;
}

}  // namespace saccade
