#pragma once

#include <CLI/CLI.hpp>

#include "output.h"
#include "runtime/bench_policy.h"

namespace saccade::cli {

/// The options of `bench` and `profile` that say what is measured. `of` must outlive the parsing.
void add_bench_case(CLI::App& command, BenchCase& of);

/// Where and when: the part of a report that names the machine.
Json environment_json(const PolicyInfo&, const GpuInfo*);

/// What was measured.
Json case_json(const PolicyInfo&, int views, int prompt_tokens);

/// "NVIDIA H200, driver 580.95.05, CUDA 13.0"
std::string describe(const GpuInfo&);

}  // namespace saccade::cli
