#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "runtime/fidelity.h"

namespace saccade::cli {

/// What `verify --fidelity` takes beside the checkpoint.
struct FidelityArguments {
  bool is_wanted = false;
  FidelityOptions options;
  std::string observations;
  std::optional<double> max_error;
};

/// Adds --fidelity and what goes with it. Returns --fidelity.
CLI::Option* add_fidelity_options(CLI::App&, FidelityArguments&);

/// Compares and prints. Returns the exit status.
int run_fidelity(const std::string& checkpoint, FidelityArguments&, bool json);

}  // namespace saccade::cli
