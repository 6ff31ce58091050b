#include "runtime/prompter.h"

#include "core/check.h"
#include "runtime/prompt.h"

namespace saccade {
namespace {

PromptForm prompt_form(const io::PolicyConfig& config, const PolicyInfo& info) {
  if (info.state_in_prompt) return PromptForm::kStateInText;
  const bool lerobot_pi0 = config.mode == Mode::kLerobot && info.model == Model::kPi0;
  return lerobot_pi0 ? PromptForm::kLerobotPi0 : PromptForm::kOpenpiPi0;
}

}  // namespace

Prompter::Prompter(const std::filesystem::path& given, const std::filesystem::path& checkpoint,
                   int vocabulary) {
  try {
    const std::filesystem::path path = io::find_tokenizer(given, checkpoint);
    tokenizer_.emplace(path);
    SACCADE_CHECK(tokenizer_->vocabulary() <= vocabulary, "load", path.string(), " has ",
                  tokenizer_->vocabulary(), " tokens, the checkpoint's embedding ", vocabulary);
  } catch (const InvalidArgument& error) {
    if (!given.empty()) throw;
    tokenizer_.reset();
    tokenizer_error_ = error.what();
  }
}

std::vector<int> Prompter::tokenize(const LoadedPolicy& policy, const Observation& observation,
                                    std::span<const double> normalized_state,
                                    std::vector<std::string>& warnings) const {
  const io::PolicyConfig& config = policy.config;
  const PolicyInfo& info = policy.info;
  Prompt prompt;
  if (observation.tokens) {
    SACCADE_CHECK(!observation.prompt, "infer", "both a prompt and its tokens are given");
    prompt.tokens = *observation.tokens;
    prompt.full_length = int(prompt.tokens.size());
    prompt.cut = prompt.full_length > info.max_prompt_tokens;
    if (prompt.cut) prompt.tokens.resize(std::size_t(info.max_prompt_tokens));
    SACCADE_CHECK(!prompt.tokens.empty(), "infer", "the list of prompt tokens is empty");
  } else {
    if (!tokenizer_) throw InvalidArgument(tokenizer_error_);
    SACCADE_CHECK(observation.prompt || !config.default_prompt.empty(), "infer",
                  "neither a prompt nor its tokens are given");
    const std::string text = observation.prompt.value_or(config.default_prompt);
    prompt = make_prompt(*tokenizer_, prompt_form(config, info), text, normalized_state,
                         info.max_prompt_tokens);
  }
  if (prompt.cut) {
    warnings.push_back("the prompt has " + std::to_string(prompt.full_length) +
                       " tokens and is cut to " + std::to_string(info.max_prompt_tokens));
  }
  return prompt.tokens;
}

}  // namespace saccade
