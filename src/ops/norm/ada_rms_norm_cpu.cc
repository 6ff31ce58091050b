// The reference. Written to be read: no blocking, no vectors, no threads.

#include <cmath>

#include "core/bf16.h"
#include "ops/norm/ada_rms_norm.h"

namespace saccade::ops::detail {
namespace {

template <typename T>
void ada_rms_norm(const AdaRmsNormParams& p) {
  for (int row = 0; row < p.rows; ++row) {
    const T* x = static_cast<const T*>(p.x) + std::size_t(row) * p.dim;
    T* out = static_cast<T*>(p.out) + std::size_t(row) * p.dim;

    float sum = 0;
    for (int i = 0; i < p.dim; ++i) sum += to_float(x[i]) * to_float(x[i]);
    const float inverse_rms = 1.0f / std::sqrt(sum / p.dim + p.eps);

    for (int i = 0; i < p.dim; ++i) {
      out[i] = from_float<T>(to_float(x[i]) * inverse_rms * (1 + p.scale[i]) + p.shift[i]);
    }
  }
}

}  // namespace

void ada_rms_norm_cpu(const AdaRmsNormParams& p) {
  return p.dtype == DType::kF32 ? ada_rms_norm<float>(p) : ada_rms_norm<bf16>(p);
}

}  // namespace saccade::ops::detail
