#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "saccade/policy.h"

namespace saccade::cli {

/// The checkpoint as the first argument.
void add_checkpoint_argument(CLI::App& command, std::string& checkpoint);

/// The options that say how a checkpoint is loaded. `options` must outlive the parsing.
void add_load_options(CLI::App& command, LoadOptions& options);

/// A value that is one of these words, and what to do with it.
void add_choice(CLI::App& command, const std::string& flag, const std::vector<std::string>& words,
                const std::string& description, std::function<void(std::size_t)> choose);

/// Numbers as "0.1,-2", as a JSON array, or in a file as "@file". All are finite.
std::vector<double> parse_numbers(const std::string& text, std::string_view option);

/// The same for whole numbers that fit in an int.
std::vector<int> parse_integers(const std::string& text, std::string_view option);

/// "name=value" with both parts there.
std::pair<std::string, std::string> parse_assignment(const std::string& text,
                                                     std::string_view option);

}  // namespace saccade::cli
