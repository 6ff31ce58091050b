#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <functional>
#include <string>
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

}  // namespace saccade::cli
