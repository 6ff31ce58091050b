#pragma once

#include <cmath>
#include <numbers>
#include <vector>

// Formulas that several ops share, in f64.
namespace saccade::testing {

inline double exact_silu(double x) { return x / (1 + std::exp(-x)); }

inline double exact_gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

/// Sums in several chains, so that the processor overlaps their additions.
inline double exact_dot(const double* a, const double* b, int count) {
  double sums[8] = {};
  int i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int chain = 0; chain < 8; ++chain) sums[chain] += a[i + chain] * b[i + chain];
  }
  double sum = 0;
  for (double chain : sums) sum += chain;
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

/// 1 / rms of a row whose squares were summed in parts.
inline double exact_norm_factor(const std::vector<double>& squares, int row, int parts, int width,
                                double eps) {
  double sum = 0;
  for (int part = 0; part < parts; ++part) sum += squares[std::size_t(row) * parts + part];
  return 1 / std::sqrt(sum / width + eps);
}

}  // namespace saccade::testing
