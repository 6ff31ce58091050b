#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/tokenizer.h"
#include "runtime/loaded_policy.h"

namespace saccade {

/// Turns what a robot is told into the tokens that a policy takes.
class Prompter {
 public:
  /// Finds and opens the tokenizer, or keeps why there is none: whoever gives tokens needs none, so
  /// only one that was asked for is an error at once.
  Prompter(const std::filesystem::path& given, const std::filesystem::path& checkpoint,
           int vocabulary);

  /// The tokens of an observation. Adds a sentence to the warnings when they are cut.
  std::vector<int> tokenize(const LoadedPolicy&, const Observation&,
                            std::span<const double> normalized_state,
                            std::vector<std::string>& warnings) const;

 private:
  std::optional<io::Tokenizer> tokenizer_;
  std::string tokenizer_error_;
};

}  // namespace saccade
