#include "ops/embedding/embedding.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "saccade/ops/embedding.h"

namespace saccade::ops {

void embedding(const Stream& stream, Tensor ids, Tensor table, float scale, Tensor out) {
  constexpr auto kOp = "embedding";
  detail::check_given(kOp, stream, {{"ids", ids}, {"table", table}, {"out", out}});
  detail::check_has_kernel(kOp, stream);
  SACCADE_CHECK(ids.shape.rank() == 1, kOp, "ids must be [rows], got ", ids.shape.str());
  SACCADE_CHECK(table.shape.rank() == 2, kOp, "table must be [vocabulary, dim], got ",
                table.shape.str());
  const int rows = ids.shape[0];
  const int vocabulary = table.shape[0];
  const int dim = table.shape[1];
  detail::check_shape(kOp, {"out", out}, {rows, dim});
  detail::check_type(kOp, {"ids", ids}, DType::kI32);
  detail::check_f32_or_bf16(kOp, {"table", table});
  detail::check_f32_or_bf16(kOp, {"out", out});
  detail::check_apart(kOp, {"out", out}, {"table", table});
  detail::check_apart(kOp, {"out", out}, {"ids", ids});
  for (int row = 0; row < rows; ++row) {
    const int id = ids.as<std::int32_t>()[row];
    SACCADE_CHECK(id >= 0 && id < vocabulary, kOp, "ids[", row, "] must be in [0, ", vocabulary,
                  "), got ", id);
  }
  detail::embedding_cpu(
      {ids.as<std::int32_t>(), table.data, out.data, rows, dim, scale, table.dtype, out.dtype});
}

}  // namespace saccade::ops
