// One CTA per row.

#include "cuda/launch.h"
#include "ops/embedding/embedding.h"
#include "ops/norm/rows.cuh"

namespace saccade::ops::detail {
namespace {

constexpr int kThreads = 256;

template <typename Row>
__global__ __launch_bounds__(kThreads) void embedding_kernel(
    const __grid_constant__ EmbeddingParams p) {
  cuda::allow_next();
  const Row row(p.dim);
  cuda::wait_for_previous();
  const auto entry = row.load(p.table, p.table_type, std::int64_t(p.ids[row.index]) * p.dim);
  row.store(p.out, p.out_type, row.first(), [&](int i) { return p.scale * entry[i]; });
  if (!p.next_scale) return;

  const auto next_scale = row.load(p.next_scale, DType::kF32, 0);
  row.store(p.scaled, p.scaled_type, row.first(),
            [&](int i) { return p.scale * entry[i] * next_scale[i]; });
  float sum = 0;
  row.visit([&](int i) { sum += p.scale * entry[i] * (p.scale * entry[i]); });
  const float squares = row.total(sum);
  float* parts = p.squares + std::int64_t(row.index) * p.squares_parts;
  for (int i = row.lane; i < p.squares_parts; i += kThreads) parts[i] = i == 0 ? squares : 0;
}

}  // namespace

void embedding_cuda(const EmbeddingParams& p, cudaStream_t stream) {
  using Held = HeldRow<kThreads, 4>;  // up to 4096
  const auto kernel =
      Held::takes(p.dim) ? embedding_kernel<Held> : embedding_kernel<LoopedRow<kThreads>>;
  const cuda::Launch config{
      .grid = dim3(p.rows), .block = dim3(kThreads), .order = cuda::Order::kOverlap};
  cuda::launch(kernel, config, stream, p);
}

}  // namespace saccade::ops::detail
