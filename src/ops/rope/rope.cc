#include "ops/rope/rope.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "ops/trace.h"
#include "saccade/ops/rope.h"

namespace saccade::ops {
namespace detail {
namespace {

void check_positions(const char* op, const Tensor& positions, int limit) {
  for (int row = 0; row < positions.shape[0]; ++row) {
    const int position = positions.as<std::int32_t>()[row];
    SACCADE_CHECK(position >= 0 && position < limit, op, "positions[", row, "] must be in [0, ",
                  limit, "), got ", position);
  }
}

void check_types(const char* op, const Tensor& qkv, std::initializer_list<Named> outputs) {
  check_floating(op, {"qkv", qkv});
  for (const Named& output : outputs) {
    check_type(op, output, qkv.dtype);
    check_apart(op, output, {"qkv", qkv});
    for (const Named& other : outputs) {
      if (output.name != other.name) check_apart(op, output, other);
    }
  }
}

}  // namespace

RopeParams rope_params(const char* op, const Stream& stream, const Tensor& qkv,
                       const Tensor& positions, const Tensor& table, const Tensor& q,
                       const Tensor& k, const Tensor& v) {
  check_given(op, stream,
              {{"qkv", qkv}, {"positions", positions}, {"table", table}, {"k", k}, {"v", v}});
  check_optional(op, stream, {{"q", q}});
  SACCADE_CHECK(qkv.shape.rank() == 2, op,
                "qkv must be [rows, (heads + 2 kv_heads) head_dim], got ", qkv.shape.str());
  SACCADE_CHECK(table.shape.rank() == 2 && table.shape[1] > 0 && table.shape[1] % 2 == 0, op,
                "table must be [positions, head_dim] of even head_dim, got ", table.shape.str());
  SACCADE_CHECK(k.shape.rank() == 3 && k.shape[1] > 0, op,
                "k must be [cache rows, kv_heads, head_dim], got ", k.shape.str());
  const int rows = qkv.shape[0];
  const int head_dim = table.shape[1];
  const int kv_heads = k.shape[1];
  const int heads = qkv.shape[1] / head_dim - 2 * kv_heads;
  SACCADE_CHECK(qkv.shape[1] % head_dim == 0 && heads > 0, op, "qkv is ", qkv.shape.str(),
                ", which is not queries, keys and values of ", kv_heads, " kv heads of ", head_dim);
  check_shape(op, {"k", k}, {k.shape[0], kv_heads, head_dim});
  check_shape(op, {"v", v}, k.shape);
  check_shape(op, {"positions", positions}, {rows});
  check_type(op, {"positions", positions}, DType::kI32);
  check_type(op, {"table", table}, DType::kF32);
  if (q) {
    check_shape(op, {"q", q}, {rows, heads, head_dim});
    check_types(op, qkv, {{"q", q}, {"k", k}, {"v", v}});
  } else {
    check_types(op, qkv, {{"k", k}, {"v", v}});
  }
  if (stream.device == Device::kCpu) {
    check_positions(op, positions, std::min(table.shape[0], k.shape[0]));
  }
  return {.qkv = qkv.data,
          .positions = positions.as<std::int32_t>(),
          .table = table.as<float>(),
          .q = q.data,
          .k = k.data,
          .v = v.data,
          .rows = rows,
          .heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .dtype = qkv.dtype};
}

}  // namespace detail

void rope(const Stream& stream, Tensor qkv, Tensor positions, Tensor table, Tensor q, Tensor k,
          Tensor v) {
  const auto params = detail::rope_params("rope", stream, qkv, positions, table, q, k, v);
  if (!detail::may_run(stream, "rope", qkv)) return;
  stream.device == Device::kCpu ? detail::rope_cpu(params)
                                : detail::rope_cuda(params, stream.handle);
}

}  // namespace saccade::ops
