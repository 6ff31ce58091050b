// RMSNorm, one CTA per row.
//
// A policy has 10 to 1000 rows, so one CTA per row fills the GPU in at most eight
// waves and keeps a row in registers: x is read once. Bound by launch latency below
// about 100 rows, by L2 above.

#include "cuda/launch.h"
#include "ops/norm/rms_norm.h"
#include "ops/norm/rows.cuh"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 256;

template <typename Row>
__global__ __launch_bounds__(kThreads) void rms_norm_kernel(
    const __grid_constant__ RmsNormParams p) {
  cuda::allow_next();
  const Row row(p.dim);
  const auto weight = row.load(p.weight, DType::kF32, 0);
  cuda::wait_for_previous();
  const auto x = row.load(p.x, p.x_dtype, row.first());

  float sum = 0;
  row.visit([&](int i) { sum += x[i] * x[i]; });
  const float scale = rsqrtf(row.total(sum) / float(p.dim) + p.eps);

  if (!p.shift) {
    row.store(p.out, p.out_dtype, row.first(), [&](int i) { return x[i] * scale * weight[i]; });
    return;
  }
  const auto shift = row.load(p.shift, DType::kF32, 0);
  row.store(p.out, p.out_dtype, row.first(),
            [&](int i) { return x[i] * scale * weight[i] + shift[i]; });
}

}  // namespace

void rms_norm_cuda(const RmsNormParams& p, cudaStream_t stream) {
  using Held = HeldRow<kThreads, 4>;  // up to 4096
  const auto kernel =
      Held::takes(p.dim) ? rms_norm_kernel<Held> : rms_norm_kernel<LoopedRow<kThreads>>;
  const cuda::Launch config{
      .grid = dim3(p.rows), .block = dim3(kThreads), .order = cuda::Order::kOverlap};
  cuda::launch(kernel, config, stream, p);
}

}  // namespace saccade::ops::detail
