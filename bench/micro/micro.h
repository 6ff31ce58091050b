#pragma once

#include <string>
#include <vector>

#include "saccade/stream.h"

// What the GPU takes for the primitives that a policy's kernels are made of.
namespace saccade::bench {

struct Measurement {
  std::string what;
  double value;
  std::string unit;
};

/// From one empty kernel of a graph to the next that depends on it.
std::vector<Measurement> launch_gaps(const Stream&, int multiprocessors);

/// All CTAs of a resident kernel waiting for each other.
std::vector<Measurement> grid_barriers(const Stream&, int multiprocessors);

/// Kernels that read so much from HBM and do nothing else, one after the other.
std::vector<Measurement> cold_reads(const Stream&, int multiprocessors);

}  // namespace saccade::bench
