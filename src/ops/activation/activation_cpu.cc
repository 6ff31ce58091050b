#include "ops/activation/activation.h"
#include "ops/activation/functions.h"
#include "ops/elements.h"

namespace saccade::ops::detail {
namespace {

template <typename T, typename Function>
void apply(const ActivationParams& p, Function function) {
  const T* x = static_cast<const T*>(p.x);
  T* out = static_cast<T*>(p.out);
  for (std::int64_t i = 0; i < p.size; ++i) out[i] = from_float<T>(function(to_float(x[i])));
}

template <typename Function>
void apply(const ActivationParams& p, Function function) {
  visit_type(p.dtype, [&]<typename T>() { apply<T>(p, function); });
}

}  // namespace

void silu_cpu(const ActivationParams& p) {
  apply(p, [](float x) { return silu(x); });
}

void gelu_cpu(const ActivationParams& p) {
  apply(p, [](float x) { return gelu(x); });
}

}  // namespace saccade::ops::detail
