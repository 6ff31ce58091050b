// LayerNorm, one warp per row: no barrier between the two passes, and the 512 rows of two views
// make a CTA for nearly every multiprocessor. Bound by latency: one trip to L2 and ten shuffles.

#include "cuda/launch.h"
#include "ops/norm/layer_norm.h"
#include "ops/norm/rows.cuh"

namespace saccade::ops::detail {
namespace {

constexpr int kWarp = 32;
constexpr int kRowsPerCta = 4;

template <typename Row>
__global__ __launch_bounds__(kWarp* kRowsPerCta) void layer_norm_kernel(
    const __grid_constant__ LayerNormParams p) {
  cuda::allow_next();
  const Row row(p.dim);
  const auto weight = row.load(p.weight, DType::kF32, 0);
  const auto bias = row.load(p.bias, DType::kF32, 0);
  cuda::wait_for_previous();
  if (row.index >= p.rows) return;
  const auto x = row.load(p.x, p.x_dtype, row.first());

  float sum = 0;
  row.visit([&](int i) { sum += x[i]; });
  const float mean = row.total(sum) / float(p.dim);

  float squares = 0;
  row.visit([&](int i) { squares += (x[i] - mean) * (x[i] - mean); });
  const float scale = rsqrtf(row.total(squares) / float(p.dim) + p.eps);

  row.store(p.out, p.out_dtype, row.first(),
            [&](int i) { return (x[i] - mean) * scale * weight[i] + bias[i]; });
}

}  // namespace

void layer_norm_cuda(const LayerNormParams& p, cudaStream_t stream) {
  using Held = HeldRow<kWarp, 9>;  // up to 1152
  const auto kernel =
      Held::takes(p.dim) ? layer_norm_kernel<Held> : layer_norm_kernel<LoopedRow<kWarp>>;
  const cuda::Launch config{.grid = dim3((p.rows + kRowsPerCta - 1) / kRowsPerCta),
                            .block = dim3(kWarp * kRowsPerCta),
                            .order = cuda::Order::kOverlap};
  cuda::launch(kernel, config, stream, p);
}

}  // namespace saccade::ops::detail
