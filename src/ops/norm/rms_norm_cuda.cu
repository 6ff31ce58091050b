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
constexpr int kScaledThreads =
    128;  // for e4m3: few registers, so that a prefix's rows are one wave

template <typename Row>
__device__ float factor_of(const RmsNormParams& p, const Row& row, const typename Row::Values& x) {
  float sum = 0;
  row.visit([&](int i) { sum += x[i] * x[i]; });
  return rsqrtf(row.total(sum) / float(p.dim) + p.eps);
}

template <typename Row>
__global__ __launch_bounds__(kThreads) void rms_norm_kernel(
    const __grid_constant__ RmsNormParams p) {
  cuda::allow_next();
  const Row row(p.dim);
  const auto weight = row.load(p.weight, DType::kF32, 0);
  cuda::wait_for_previous();
  const auto x = row.load(p.x, p.x_dtype, row.first());

  const float scale = factor_of(p, row, x);

  if (!p.shift) {
    row.store(p.out, p.out_dtype, row.first(), [&](int i) { return x[i] * scale * weight[i]; });
    return;
  }
  const auto shift = row.load(p.shift, DType::kF32, 0);
  row.store(p.out, p.out_dtype, row.first(),
            [&](int i) { return x[i] * scale * weight[i] + shift[i]; });
}

/// The row of f(slot) in e4m3.
template <typename Row, typename F>
__device__ void quantize(const RmsNormParams& p, const Row& row, F f) {
  float largest = 0;
  row.visit([&](int i) { largest = larger_magnitude(largest, f(i)); });
  const float scale = scale_of(row.largest(largest));
  if (threadIdx.x == 0) p.out_scales[row.index] = scale;
  const float inverse = cuda::ptx::reciprocal_approx(scale);
  row.store_scaled(p.out, row.first(), [&](int i) { return f(i) * inverse; });
}

template <typename Row, bool kShifts>
__global__ __launch_bounds__(kScaledThreads) void rms_norm_scaled_kernel(
    const __grid_constant__ RmsNormParams p) {
  cuda::allow_next();
  const Row row(p.dim);
  const auto weight = row.load(p.weight, DType::kF32, 0);
  cuda::wait_for_previous();
  const auto x = row.load(p.x, p.x_dtype, row.first());
  const float factor = factor_of(p, row, x);
  if constexpr (kShifts) {
    const auto shift = row.load(p.shift, DType::kF32, 0);
    quantize(p, row, [&](int i) { return x[i] * factor * weight[i] + shift[i]; });
  } else {
    quantize(p, row, [&](int i) { return x[i] * factor * weight[i]; });
  }
}

auto plain_kernel(const RmsNormParams& p) {
  using Held = HeldRow<kThreads, 4>;  // up to 4096
  return Held::takes(p.dim) ? rms_norm_kernel<Held> : rms_norm_kernel<LoopedRow<kThreads>>;
}

auto scaled_kernel(const RmsNormParams& p) {
  using Held = HeldRow<kScaledThreads, 4>;  // up to 2048
  using Looped = LoopedRow<kScaledThreads>;
  if (p.shift) return rms_norm_scaled_kernel<Looped, true>;
  return Held::takes(p.dim) ? rms_norm_scaled_kernel<Held, false>
                            : rms_norm_scaled_kernel<Looped, false>;
}

}  // namespace

void rms_norm_cuda(const RmsNormParams& p, cudaStream_t stream) {
  const bool scales = p.out_dtype == DType::kE4m3;
  const cuda::Launch config{.grid = dim3(p.rows),
                            .block = dim3(scales ? kScaledThreads : kThreads),
                            .order = cuda::Order::kOverlap};
  cuda::launch(scales ? scaled_kernel(p) : plain_kernel(p), config, stream, p);
}

}  // namespace saccade::ops::detail
