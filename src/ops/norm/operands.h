#pragma once

#include <string_view>

#include "core/check.h"
#include "ops/dispatch.h"
#include "saccade/ops/norm.h"

namespace saccade::ops::detail {

/// What every norm asks: x [rows, dim] and out of any floating type, out being x or apart from it.
inline void check_rows(std::string_view op, const Tensor& x, const Tensor& out) {
  SACCADE_CHECK(x.shape.rank() == 2 && x.shape[1] > 0, op, "x must be [rows, dim], got ",
                x.shape.str());
  check_shape(op, {"out", out}, x.shape);
  check_floating(op, {"x", x});
  check_same_or_apart(op, {"out", out}, {"x", x});
}

/// What every op asks of NormOutputs beside out [m, n]: all three are given, or none.
inline void check_norm_outputs(std::string_view op, const Stream& stream, const NormOutputs& next,
                               const Tensor& out) {
  const auto& [scale, scaled, squares] = next;
  if (!scale && !scaled && !squares) return;
  check_given(op, stream,
              {{"next.scale", scale}, {"next.scaled", scaled}, {"next.squares", squares}});
  check_shape(op, {"next.scale", scale}, {out.shape[1]});
  check_type(op, {"next.scale", scale}, DType::kF32);
  check_shape(op, {"next.scaled", scaled}, out.shape);
  check_floating(op, {"next.scaled", scaled});
  check_apart(op, {"next.scaled", scaled}, {"out", out});
  check_type(op, {"next.squares", squares}, DType::kF32);
  const int parts = (out.shape[1] + 63) / 64;
  SACCADE_CHECK(
      squares.shape.rank() == 2 && squares.shape[0] == out.shape[0] && squares.shape[1] >= parts,
      op, "next.squares must be [", out.shape[0], ", parts] with parts >= ", parts, ", got ",
      squares.shape.str());
}

}  // namespace saccade::ops::detail
