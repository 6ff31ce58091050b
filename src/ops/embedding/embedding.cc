#include "ops/embedding/embedding.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "ops/norm/operands.h"
#include "ops/trace.h"
#include "saccade/ops/embedding.h"

namespace saccade::ops {

void embedding(const Stream& stream, Tensor ids, Tensor table, float scale, const NormOutputs& next,
               Tensor out) {
  constexpr auto kOp = "embedding";
  detail::check_given(kOp, stream, {{"ids", ids}, {"table", table}, {"out", out}});
  SACCADE_CHECK(ids.shape.rank() == 1, kOp, "ids must be [rows], got ", ids.shape.str());
  SACCADE_CHECK(table.shape.rank() == 2, kOp, "table must be [vocabulary, dim], got ",
                table.shape.str());
  const int rows = ids.shape[0];
  const int vocabulary = table.shape[0];
  const int dim = table.shape[1];
  detail::check_shape(kOp, {"out", out}, {rows, dim});
  detail::check_type(kOp, {"ids", ids}, DType::kI32);
  detail::check_floating(kOp, {"table", table});
  detail::check_floating(kOp, {"out", out});
  detail::check_apart(kOp, {"out", out}, {"table", table});
  detail::check_apart(kOp, {"out", out}, {"ids", ids});
  detail::check_norm_outputs(kOp, stream, next, out);
  const bool on_cpu = stream.device == Device::kCpu;
  for (int row = 0; on_cpu && row < rows; ++row) {
    const int id = ids.as<std::int32_t>()[row];
    SACCADE_CHECK(id >= 0 && id < vocabulary, kOp, "ids[", row, "] must be in [0, ", vocabulary,
                  "), got ", id);
  }
  const detail::EmbeddingParams params{.ids = ids.as<std::int32_t>(),
                                       .table = table.data,
                                       .out = out.data,
                                       .rows = rows,
                                       .dim = dim,
                                       .scale = scale,
                                       .table_type = table.dtype,
                                       .out_type = out.dtype,
                                       .next_scale = next.scale.as<float>(),
                                       .scaled = next.scaled.data,
                                       .scaled_type = next.scaled.dtype,
                                       .squares = next.squares.as<float>(),
                                       .squares_parts = next.squares ? next.squares.shape[1] : 0};
  if (!detail::may_run(stream, kOp, out)) return;
  on_cpu ? detail::embedding_cpu(params) : detail::embedding_cuda(params, stream.handle);
}

}  // namespace saccade::ops
