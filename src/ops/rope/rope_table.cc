#include <cmath>

#include "core/check.h"
#include "ops/dispatch.h"
#include "saccade/ops/rope.h"

namespace saccade::ops {

void rope_table(float base, Tensor table) {
  constexpr auto kOp = "rope_table";
  detail::check_given(kOp, Stream{}, {{"table", table}});
  SACCADE_CHECK(table.shape.rank() == 2 && table.shape[1] % 2 == 0, kOp,
                "table must be [positions, dim] of even dim, got ", table.shape.str());
  detail::check_type(kOp, {"table", table}, DType::kF32);
  SACCADE_CHECK(base > 0, kOp, "base must be positive, got ", base);
  const int dim = table.shape[1];
  const int half = dim / 2;
  for (int i = 0; i < half; ++i) {
    const float period = static_cast<float>(std::pow(double{base}, double(2 * i) / dim));
    const float frequency = 1 / period;
    for (int position = 0; position < table.shape[0]; ++position) {
      const double angle = static_cast<float>(position) * frequency;
      float* row = table.as<float>() + std::size_t(position) * dim;
      row[i] = static_cast<float>(std::cos(angle));
      row[half + i] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace saccade::ops
