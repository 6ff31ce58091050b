#pragma once

#include <cmath>
#include <numbers>

// Formulas that several ops share, in f64.
namespace saccade::testing {

inline double exact_silu(double x) { return x / (1 + std::exp(-x)); }

inline double exact_gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

}  // namespace saccade::testing
