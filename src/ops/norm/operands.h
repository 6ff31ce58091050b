#pragma once

#include <string_view>

#include "core/check.h"
#include "ops/dispatch.h"

namespace saccade::ops::detail {

/// What every norm asks: x [rows, dim], f32 or bf16; out of either type, and x itself or apart from
/// it.
inline void check_rows(std::string_view op, const Tensor& x, const Tensor& out) {
  SACCADE_CHECK(x.shape.rank() == 2 && x.shape[1] > 0, op, "x must be [rows, dim], got ",
                x.shape.str());
  check_shape(op, {"out", out}, x.shape);
  check_f32_or_bf16(op, {"x", x});
  check_f32_or_bf16(op, {"out", out});
  check_same_or_apart(op, {"out", out}, {"x", x});
}

}  // namespace saccade::ops::detail
