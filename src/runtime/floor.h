#pragma once

#include "models/dims.h"
#include "ops/trace.h"
#include "saccade/policy.h"

namespace saccade {

/// What an H200 sustains, measured: reading HBM, and multiplying 16-bit matrices of random values.
inline constexpr double kBytesPerSecond = 4.55e12;
inline constexpr double kFlopsPerSecond = 790e12;

/// Products of e4m3 take half of a 16-bit product's tensor cycles (NVIDIA's H200 data sheet: 1979
/// against 989 TFLOP/s); taken to be as far from that peak.
inline constexpr double kE4m3FlopsPerSecond = 2 * kFlopsPerSecond;

/// The least time for so much work: the longer of its two times.
double floor_ms(double flops, double bytes, double flops_per_second = kFlopsPerSecond);

/// The same of an op as it was recorded.
double floor_ms(const OpRecord&);

/// Work of several ops, and the sum of their least times.
struct Work {
  double flops = 0;
  double bytes = 0;  // of HBM: weights, which no cache holds from one pass to the next
  double ms = 0;

  void add(double op_flops, double op_bytes, double flops_per_second = kFlopsPerSecond);
};

/// What an inference consists of.
struct Workload {
  int views = 0;
  int tokens = 0;  // of the prompt
  int actions = 0;
  int steps = 0;
  Precisions precision = Precision::kBf16;
};

struct Floor {
  Work vision;
  Work prefix;
  Work steps;

  double ms() const { return vision.ms + prefix.ms + steps.ms; }
};

/// What no implementation of these matrix products and attentions goes below, one op after the
/// other: no padding, every weight read once a pass, activations for free, and nothing computed
/// that never reaches the actions.
Floor floor_of(const models::PiDims&, const Workload&);

}  // namespace saccade
