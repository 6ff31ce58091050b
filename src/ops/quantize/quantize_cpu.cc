// The reference. Written to be read: no blocking, no vectors.

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "ops/elements.h"
#include "ops/quantize/quantize.h"

namespace saccade::ops::detail {
namespace {

template <typename X>
void quantize_row(const QuantizeParams& p, std::int64_t row) {
  const X* x = static_cast<const X*>(p.x) + row * p.columns;
  e4m3* values = static_cast<e4m3*>(p.values) + row * p.columns;
  const int step = p.blocks == 1 ? p.columns : kScaleBlock;
  for (int block = 0; block < p.blocks; ++block) {
    const int begin = block * step;
    const int end = std::min(begin + step, p.columns);
    float largest = 0;
    for (int i = begin; i < end; ++i) {
      const float magnitude = std::fabs(to_float(x[i]));
      if (!(magnitude <= largest)) largest = magnitude;  // also where it is NaN
      if (largest != largest) break;
    }
    const float share = largest / kE4m3Max;
    const float scale = share < kSmallestScale ? 1 : share;
    p.scales[block * std::int64_t(p.rows) + row] = scale;
    for (int i = begin; i < end; ++i) values[i] = from_float<e4m3>(to_float(x[i]) / scale);
  }
}

}  // namespace

void quantize_cpu(const QuantizeParams& p) {
  constexpr std::int64_t kElementsPerThread = 1 << 18;
  parallel_ranges(p.rows, kElementsPerThread / p.columns + 1,
                  [&](std::int64_t begin, std::int64_t end) {
                    visit_type(p.x_type, [&]<typename X>() {
                      for (std::int64_t row = begin; row < end; ++row) quantize_row<X>(p, row);
                    });
                  });
}

}  // namespace saccade::ops::detail
