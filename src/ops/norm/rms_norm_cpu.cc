// The reference. Written to be read: no blocking, no vectors, no threads.

#include <cmath>
#include <vector>

#include "ops/elements.h"
#include "ops/norm/rms_norm.h"
#include "ops/quantize/quantize.h"

namespace saccade::ops::detail {
namespace {

template <typename X, typename Out>
void rms_norm(const RmsNormParams& p) {
  std::vector<float> values(std::size_t(p.dim));
  for (int row = 0; row < p.rows; ++row) {
    const X* x = static_cast<const X*>(p.x) + std::size_t(row) * p.dim;
    Out* out = static_cast<Out*>(p.out) + std::size_t(row) * p.dim;

    float sum = 0;
    for (int i = 0; i < p.dim; ++i) sum += to_float(x[i]) * to_float(x[i]);
    const float scale = 1.0f / std::sqrt(sum / p.dim + p.eps);

    for (int i = 0; i < p.dim; ++i) {
      const float shift = p.shift ? p.shift[i] : 0;
      values[std::size_t(i)] = to_float(x[i]) * scale * p.weight[i] + shift;
    }
    if (p.out_scales) {
      quantize_cpu({.x = values.data(),
                    .values = out,
                    .scales = p.out_scales + row,
                    .rows = 1,
                    .columns = p.dim,
                    .blocks = 1,
                    .x_type = DType::kF32});
      continue;
    }
    for (int i = 0; i < p.dim; ++i) out[i] = from_float<Out>(values[std::size_t(i)]);
  }
}

}  // namespace

void rms_norm_cpu(const RmsNormParams& p) {
  visit_types(p.x_dtype, p.out_dtype, [&]<typename X, typename Out>() { rms_norm<X, Out>(p); });
}

}  // namespace saccade::ops::detail
