#include "runtime/floor.h"

#include <algorithm>

namespace saccade {
namespace {

/// Adds ops to the work of a stage.
struct Sum {
  Work& work;
  double weight_bytes = 2;  // of one element of a tower's weights
  double flops_per_second = kFlopsPerSecond;

  void gemm(double rows, double columns, double depth) const {
    work.add(2 * rows * columns * depth, columns * depth * weight_bytes, flops_per_second);
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

/// The expert, and the projections around it.
void add_steps(const models::PiDims& dims, const Workload& load, int prefix_rows,
               const Sum& expert) {
  const Sum around{expert.work};
  const bool is_pi0 = dims.model == Model::kPi0;
  const int leading = is_pi0 ? 1 : 0;
  const int width = dims.expert.width;
  const int keys = prefix_rows + leading + load.actions;
  for (int step = 0; step < load.steps; ++step) {
    const int first = step == 0 ? leading : 0;  // rows that are the same at every step
    if (first > 0) around.gemm(first, width, dims.max_state_dim);
    around.gemm(load.actions, width, dims.max_action_dim);
    if (is_pi0) around.gemm(load.actions, width, width);
    add_gemma(dims.expert, first + load.actions, keys, false, expert);
    around.gemm(load.actions, dims.max_action_dim, width);
  }
}

}  // namespace

double floor_ms(double flops, double bytes, double flops_per_second) {
  return 1e3 * std::max(flops / flops_per_second, bytes / kBytesPerSecond);
}

double floor_ms(const OpRecord& op) {
  return floor_ms(op.flops, op.bytes, op.is_e4m3 ? kE4m3FlopsPerSecond : kFlopsPerSecond);
}

void Work::add(double op_flops, double op_bytes, double flops_per_second) {
  flops += op_flops;
  bytes += op_bytes;
  ms += floor_ms(op_flops, op_bytes, flops_per_second);
}

Floor floor_of(const models::PiDims& dims, const Workload& load) {
  Floor floor;
  const int prefix_rows = load.views * dims.vision.tokens() + load.tokens;
  add_vision(dims, load, {floor.vision});
  // The expert's activations stay in bf16, and so do its products.
  const bool prefix_is_fp8 = load.precision.prefix == Precision::kFp8;
  const bool expert_is_fp8 = load.precision.expert == Precision::kFp8;
  add_gemma(dims.prefix, prefix_rows, prefix_rows, true,
            {floor.prefix, prefix_is_fp8 ? 1.0 : 2.0,
             prefix_is_fp8 ? kE4m3FlopsPerSecond : kFlopsPerSecond});
  add_steps(dims, load, prefix_rows, {floor.steps, expert_is_fp8 ? 1.0 : 2.0});
  return floor;
}

}  // namespace saccade
