#include "ops/rope/rope.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "saccade/ops/rope.h"

namespace saccade::ops {
namespace {

constexpr auto kOp = "rope";

void check_positions(const Tensor& positions, int rows, int limit) {
  detail::check_shape(kOp, {"positions", positions}, {rows});
  detail::check_type(kOp, {"positions", positions}, DType::kI32);
  for (int row = 0; row < rows; ++row) {
    const int position = positions.as<std::int32_t>()[row];
    SACCADE_CHECK(position >= 0 && position < limit, kOp, "positions[", row, "] must be in [0, ",
                  limit, "), got ", position);
  }
}

void check_types(const Tensor& qkv, std::initializer_list<detail::Named> outputs) {
  detail::check_f32_or_bf16(kOp, {"qkv", qkv});
  for (const detail::Named& output : outputs) {
    detail::check_type(kOp, output, qkv.dtype);
    detail::check_apart(kOp, output, {"qkv", qkv});
    for (const detail::Named& other : outputs) {
      if (output.name != other.name) detail::check_apart(kOp, output, other);
    }
  }
}

}  // namespace

void rope(const Stream& stream, Tensor qkv, Tensor positions, Tensor table, Tensor q, Tensor k,
          Tensor v) {
  detail::check_given(
      kOp, stream, {{"qkv", qkv}, {"positions", positions}, {"table", table}, {"k", k}, {"v", v}});
  detail::check_optional(kOp, stream, {{"q", q}});
  detail::check_has_kernel(kOp, stream);
  SACCADE_CHECK(qkv.shape.rank() == 2, kOp,
                "qkv must be [rows, (heads + 2 kv_heads) head_dim], got ", qkv.shape.str());
  SACCADE_CHECK(table.shape.rank() == 2 && table.shape[1] > 0 && table.shape[1] % 2 == 0, kOp,
                "table must be [positions, head_dim] of even head_dim, got ", table.shape.str());
  SACCADE_CHECK(k.shape.rank() == 3 && k.shape[1] > 0, kOp,
                "k must be [rows, kv_heads, head_dim], got ", k.shape.str());
  const int rows = qkv.shape[0];
  const int head_dim = table.shape[1];
  const int kv_heads = k.shape[1];
  const int heads = qkv.shape[1] / head_dim - 2 * kv_heads;
  SACCADE_CHECK(qkv.shape[1] % head_dim == 0 && heads > 0, kOp, "qkv is ", qkv.shape.str(),
                ", which is not queries, keys and values of ", kv_heads, " kv heads of ", head_dim);
  detail::check_shape(kOp, {"k", k}, {rows, kv_heads, head_dim});
  detail::check_shape(kOp, {"v", v}, k.shape);
  if (q) detail::check_shape(kOp, {"q", q}, {rows, heads, head_dim});
  if (q)
    check_types(qkv, {{"q", q}, {"k", k}, {"v", v}});
  else
    check_types(qkv, {{"k", k}, {"v", v}});
  detail::check_type(kOp, {"table", table}, DType::kF32);
  check_positions(positions, rows, table.shape[0]);
  detail::rope_cpu({.qkv = qkv.data,
                    .positions = positions.as<std::int32_t>(),
                    .table = table.as<float>(),
                    .q = q.data,
                    .k = k.data,
                    .v = v.data,
                    .rows = rows,
                    .heads = heads,
                    .kv_heads = kv_heads,
                    .head_dim = head_dim,
                    .dtype = qkv.dtype});
}

}  // namespace saccade::ops
