#include "runtime/floor.h"

#include <algorithm>

namespace saccade {
namespace {

/// Adds ops to the work of a stage.
struct Sum {
  Work& work;
  int weight_bytes;

  void gemm(double rows, double columns, double depth) const {
    work.add(2 * rows * columns * depth, columns * depth * weight_bytes);
  }
  void attention(double rows, double keys, double width) const {
    work.add(4 * rows * keys * width, 0);
  }
};

void add_vision(const models::PiDims& dims, const Workload& load, const Sum& sum) {
  const models::SiglipDims& vision = dims.vision;
  const int rows = load.views * vision.tokens();
  sum.gemm(rows, vision.width, 3 * vision.patch * vision.patch);
  for (int layer = 0; layer < vision.layers; ++layer) {
    sum.gemm(rows, 3 * vision.width, vision.width);
    sum.attention(rows, vision.tokens(), vision.width);
    sum.gemm(rows, vision.width, vision.width);
    sum.gemm(rows, vision.mlp, vision.width);
    sum.gemm(rows, vision.width, vision.mlp);
  }
  sum.gemm(rows, dims.prefix.width, vision.width);
}

/// One pass over rows that see `keys` keys. Behind the last layer's keys and values nothing is
/// computed when nothing else is wanted.
void add_gemma(const models::GemmaDims& dims, int rows, int keys, bool only_keys_at_last,
               const Sum& sum) {
  const int queries = dims.heads * dims.head_dim;
  for (int layer = 0; layer < dims.layers; ++layer) {
    const bool stops = only_keys_at_last && layer == dims.layers - 1;
    sum.gemm(rows, stops ? dims.qkv() - queries : dims.qkv(), dims.width);
    if (stops) return;
    sum.attention(rows, keys, queries);
    sum.gemm(rows, dims.width, queries);
    sum.gemm(rows, 2 * dims.mlp, dims.width);
    sum.gemm(rows, dims.width, dims.mlp);
  }
}

void add_steps(const models::PiDims& dims, const Workload& load, int prefix_rows, const Sum& sum) {
  const bool is_pi0 = dims.model == Model::kPi0;
  const int leading = is_pi0 ? 1 : 0;
  const int width = dims.expert.width;
  const int keys = prefix_rows + leading + load.actions;
  for (int step = 0; step < load.steps; ++step) {
    const int first = step == 0 ? leading : 0;  // rows that are the same at every step
    if (first > 0) sum.gemm(first, width, dims.max_state_dim);
    sum.gemm(load.actions, width, dims.max_action_dim);
    if (is_pi0) sum.gemm(load.actions, width, width);
    add_gemma(dims.expert, first + load.actions, keys, false, sum);
    sum.gemm(load.actions, dims.max_action_dim, width);
  }
}

}  // namespace

double floor_ms(double flops, double bytes) {
  return 1e3 * std::max(flops / kFlopsPerSecond, bytes / kBytesPerSecond);
}

void Work::add(double op_flops, double op_bytes) {
  flops += op_flops;
  bytes += op_bytes;
  ms += floor_ms(op_flops, op_bytes);
}

Floor floor_of(const models::PiDims& dims, const Workload& load) {
  Floor floor;
  const int prefix_rows = load.views * dims.vision.tokens() + load.tokens;
  add_vision(dims, load, {floor.vision, load.weight_bytes});
  add_gemma(dims.prefix, prefix_rows, prefix_rows, true, {floor.prefix, load.weight_bytes});
  add_steps(dims, load, prefix_rows, {floor.steps, load.weight_bytes});
  return floor;
}

}  // namespace saccade
