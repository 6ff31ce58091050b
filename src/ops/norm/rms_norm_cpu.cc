// The reference. Written to be read: no blocking, no vectors, no threads.

#include <cmath>

#include "core/bf16.h"
#include "ops/norm/rms_norm.h"

namespace saccade::ops::detail {
namespace {

template <typename T>
void rms_norm(const RmsNormParams& p) {
  for (int row = 0; row < p.rows; ++row) {
    const T* x = static_cast<const T*>(p.x) + std::size_t(row) * p.dim;
    T* out = static_cast<T*>(p.out) + std::size_t(row) * p.dim;

    float sum = 0;
    for (int i = 0; i < p.dim; ++i) sum += to_float(x[i]) * to_float(x[i]);
    const float scale = 1.0f / std::sqrt(sum / p.dim + p.eps);

    for (int i = 0; i < p.dim; ++i) {
      out[i] = from_float<T>(to_float(x[i]) * scale * p.weight[i]);
    }
  }
}

}  // namespace

void rms_norm_cpu(const RmsNormParams& p) {
  return p.dtype == DType::kF32 ? rms_norm<float>(p) : rms_norm<bf16>(p);
}

}  // namespace saccade::ops::detail
