#pragma once

#include <CLI/CLI.hpp>

namespace saccade::cli {

// What the process returns.
inline constexpr int kOk = 0;
inline constexpr int kVerifyFailed = 1;  // or replay
inline constexpr int kBadInput = 2;  // a wrong file, value or usage
inline constexpr int kFailed = 3;    // anything else, such as no memory

// Each adds its subcommand. Running it sets `status` or throws.
void add_bench(CLI::App& app, int& status);
void add_infer(CLI::App& app, int& status);
void add_inspect(CLI::App& app, int& status);
void add_profile(CLI::App& app, int& status);
void add_replay(CLI::App& app, int& status);
void add_serve(CLI::App& app, int& status);
void add_synth(CLI::App& app, int& status);
void add_tiles(CLI::App& app, int& status);
void add_verify(CLI::App& app, int& status);

}  // namespace saccade::cli
