#include <cmath>
#include <numbers>

#include "core/check.h"
#include "ops/dispatch.h"
#include "saccade/ops/flow.h"

namespace saccade::ops {

void time_embedding(float time, double min_period, double max_period, Tensor out) {
  constexpr auto kOp = "time_embedding";
  detail::check_given(kOp, Stream{}, {{"out", out}});
  SACCADE_CHECK(out.shape.rank() == 1 && out.shape[0] >= 4 && out.shape[0] % 2 == 0, kOp,
                "out must be [dim] of even dim, at least 4, got ", out.shape.str());
  detail::check_type(kOp, {"out", out}, DType::kF32);
  SACCADE_CHECK(min_period > 0 && max_period > 0, kOp, "periods must be positive, got ", min_period,
                " and ", max_period);
  const int half = out.shape[0] / 2;
  for (int i = 0; i < half; ++i) {
    const double period = min_period * std::pow(max_period / min_period, double(i) / (half - 1));
    const double angle = 2 * std::numbers::pi * time / period;
    out.as<float>()[i] = static_cast<float>(std::sin(angle));
    out.as<float>()[half + i] = static_cast<float>(std::cos(angle));
  }
}

}  // namespace saccade::ops
