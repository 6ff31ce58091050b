#pragma once

#include <vector>

#include "ops/op_case.h"

namespace saccade::bench {

/// The ops of Pi0 and Pi0.5 at their full size, as the models call them. The case tables check the
/// same kernels on fewer columns: in f64 these would take minutes.
std::vector<testing::OpCase> policy_cases();

}  // namespace saccade::bench
