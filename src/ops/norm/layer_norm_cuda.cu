// LayerNorm, one CTA of three warps per row: a thread holds 12 columns of SigLIP's 1152, so that
// its loads are all in flight at once and its chains of additions are short. Bound by latency: one
// trip to L2 and two sums over the CTA.

#include "cuda/launch.h"
#include "ops/norm/layer_norm.h"
#include "ops/norm/rows.cuh"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 96;

template <typename Row>
__global__ __launch_bounds__(kThreads) void layer_norm_kernel(
    const __grid_constant__ LayerNormParams p) {
  cuda::allow_next();
  const Row row(p.dim);
  const auto weight = row.load(p.weight, DType::kF32, 0);
  const auto bias = row.load(p.bias, DType::kF32, 0);
  const float share = 1.0f / float(p.dim);
  cuda::wait_for_previous();
  const auto x = row.load(p.x, p.x_dtype, row.first());

  float sum = 0;
  row.visit([&](int i) { sum += x[i]; });
  const float mean = row.total(sum) * share;

  float squares = 0;
  row.visit([&](int i) { squares += (x[i] - mean) * (x[i] - mean); });
  const float scale = rsqrtf(row.total(squares) * share + p.eps);

  row.store(p.out, p.out_dtype, row.first(),
            [&](int i) { return (x[i] - mean) * scale * weight[i] + bias[i]; });
}

}  // namespace

void layer_norm_cuda(const LayerNormParams& p, cudaStream_t stream) {
  using Held = HeldRow<kThreads, 3>;  // up to 1152
  const auto kernel =
      Held::takes(p.dim) ? layer_norm_kernel<Held> : layer_norm_kernel<LoopedRow<kThreads>>;
  const cuda::Launch config{
      .grid = dim3(p.rows), .block = dim3(kThreads), .order = cuda::Order::kOverlap};
  cuda::launch(kernel, config, stream, p);
}

}  // namespace saccade::ops::detail
