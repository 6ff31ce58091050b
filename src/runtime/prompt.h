#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer.h"
#include "saccade/policy.h"

namespace saccade {

/// numpy.digitize(x, linspace(-1, 1, 257)[:-1]) - 1 for each value: floor((x + 1) 128) clamped to
/// [-1, 255]. Values below -1 give -1.
std::vector<int> discretize_state(std::span<const double> normalized_state);

/// Which of the references' prompt forms is built.
enum class PromptForm {
  kOpenpiPi0,    // clean text, then "\n" tokenised apart; also Pi0.5 without the state
  kLerobotPi0,   // text as given, "\n" added if missing, tokenised as one
  kStateInText,  // "Task: {clean}, State: {bins};\nAction: "
};

/// The text that is tokenised as one, without kOpenpiPi0's separate newline.
std::string prompt_text(PromptForm, std::string_view prompt,
                        std::span<const double> normalized_state);

struct Prompt {
  std::vector<int> tokens;
  bool cut = false;  // it had more than max_tokens and was cut on the right
  int full_length = 0;
};

Prompt make_prompt(const io::Tokenizer&, PromptForm, std::string_view prompt,
                   std::span<const double> normalized_state, int max_tokens);

}  // namespace saccade
