#include "ops/attention/attention.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "ops/quantize/operands.h"
#include "ops/trace.h"
#include "saccade/ops/attention.h"

namespace saccade::ops {
namespace {

constexpr auto kOp = "attention";
constexpr auto kPackedOp = "attention_packed";

void check_visible(const Stream& stream, const Tensor& visible, int rows, int kv_rows) {
  detail::check_optional(kOp, stream, {{"visible", visible}});
  detail::check_shape(kOp, {"visible", visible}, {rows});
  detail::check_type(kOp, {"visible", visible}, DType::kI32);
  if (visible.device != Device::kCpu) return;
  for (int row = 0; row < rows; ++row) {
    const int keys = visible.as<std::int32_t>()[row];
    SACCADE_CHECK(keys >= 1 && keys <= kv_rows, kOp, "visible[", row, "] must be in [1, ", kv_rows,
                  "], got ", keys);
  }
}

void run_on_cuda(const Stream& stream, const detail::AttentionParams& p) {
  const bool sm90 = stream.arch >= 90;
  if (sm90 && detail::attention_split_takes(p)) return detail::attention_split(p, stream.handle);
  if (sm90 && detail::attention_multi_query_takes(p)) {
    return detail::attention_multi_query(p, stream.handle);
  }
  detail::attention_mma_takes(p) ? detail::attention_mma(p, stream.handle)
                                 : detail::attention_simple(p, stream.handle);
  if (p.quantized) detail::quantize_cuda(detail::quantize_params(p), stream.handle);
}

OpRecord record(const char* op, const detail::AttentionParams& p, int visible_keys) {
  const int keys = p.visible && visible_keys > 0 ? visible_keys : p.kv_rows;
  const std::string views = p.sequences > 1 ? std::to_string(p.sequences) + " x " : "";
  return {.op = op,
          .shape = views + std::to_string(p.rows) + " rows, " + std::to_string(p.heads) + " x " +
                   std::to_string(p.head_dim),
          .flops = 4.0 * p.sequences * p.rows * keys * p.heads * p.head_dim};
}

void run(const char* op, const Stream& stream, const detail::AttentionParams& params) {
  const auto describe = [&] { return record(op, params, stream.trace->visible_keys); };
  if (!detail::may_run(stream, describe)) return;
  if (stream.device == Device::kCuda) return run_on_cuda(stream, params);
  params.head_dim <= detail::kMaxBlasHeadDim ? detail::attention_blas(params)
                                             : detail::attention_cpu(params);
  if (params.quantized) detail::quantize_cpu(detail::quantize_params(params));
}

}  // namespace

namespace detail {

AttentionParams attention_params(const Stream& stream, const Tensor& q, const Tensor& k,
                                 const Tensor& v, const Tensor& visible, float scale,
                                 const Tensor& out, const ScaledMatrix& quantized) {
  check_given(kOp, stream, {{"q", q}, {"k", k}, {"v", v}, {"out", out}});
  SACCADE_CHECK(q.shape.rank() == 3 && q.shape[1] > 0 && q.shape[2] > 0, kOp,
                "q must be [rows, heads, head_dim], got ", q.shape.str());
  SACCADE_CHECK(k.shape.rank() == 3 && k.shape.size() > 0, kOp,
                "k must be [kv_rows, kv_heads, head_dim], got ", k.shape.str());
  const int rows = q.shape[0];
  const int heads = q.shape[1];
  const int head_dim = q.shape[2];
  const int kv_rows = k.shape[0];
  const int kv_heads = k.shape[1];
  check_shape(kOp, {"k", k}, {kv_rows, kv_heads, head_dim});
  check_shape(kOp, {"v", v}, k.shape);
  SACCADE_CHECK(heads % kv_heads == 0, kOp, "heads must be a multiple of kv_heads, got ", heads,
                " and ", kv_heads);
  SACCADE_CHECK(out.shape.rank() == 2 && out.shape[0] == rows &&
                    out.shape[1] == std::int64_t(heads) * head_dim,
                kOp, "out must be [", rows, ", ", std::int64_t(heads) * head_dim, "], got ",
                out.shape.str());
  check_floating(kOp, {"q", q});
  check_type(kOp, {"k", k}, q.dtype);
  check_type(kOp, {"v", v}, q.dtype);
  check_floating(kOp, {"out", out});
  check_apart(kOp, {"out", out}, {"q", q});
  check_apart(kOp, {"out", out}, {"k", k});
  check_apart(kOp, {"out", out}, {"v", v});
  if (visible) check_visible(stream, visible, rows, kv_rows);
  check_quantized(kOp, stream, quantized, out);
  return {.q = q.data,
          .k = k.data,
          .v = v.data,
          .visible = visible.as<std::int32_t>(),
          .out = out.data,
          .sequences = 1,
          .rows = rows,
          .kv_rows = kv_rows,
          .heads = heads,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .q_stride = heads * head_dim,
          .kv_stride = kv_heads * head_dim,
          .out_stride = heads * head_dim,
          .scale = scale,
          .dtype = q.dtype,
          .out_type = out.dtype,
          .quantized = quantized.values.data,
          .quantized_scales = quantized.scales.as<float>(),
          .quantized_blocks = quantized ? quantized.scales.shape[0] : 0};
}

QuantizeParams quantize_params(const AttentionParams& p) {
  return {.x = p.out,
          .values = p.quantized,
          .scales = p.quantized_scales,
          .rows = p.rows,
          .columns = p.heads * p.head_dim,
          .blocks = p.quantized_blocks,
          .x_type = p.out_type};
}

AttentionParams attention_packed_params(const Stream& stream, const Tensor& qkv, int heads,
                                        float scale, const Tensor& out) {
  check_given(kPackedOp, stream, {{"qkv", qkv}, {"out", out}});
  SACCADE_CHECK(qkv.shape.rank() == 3 && qkv.shape[2] > 0, kPackedOp,
                "qkv must be [batch, rows, 3 heads head_dim], got ", qkv.shape.str());
  const int stride = qkv.shape[2];
  SACCADE_CHECK(heads > 0 && stride % 3 == 0 && stride / 3 % heads == 0, kPackedOp,
                "qkv's last extent must be 3 x ", heads, " heads x head_dim, got ", stride);
  const int width = stride / 3;
  check_shape(kPackedOp, {"out", out}, {qkv.shape[0], qkv.shape[1], width});
  check_floating(kPackedOp, {"qkv", qkv});
  check_type(kPackedOp, {"out", out}, qkv.dtype);
  check_apart(kPackedOp, {"out", out}, {"qkv", qkv});
  const auto* first = static_cast<const std::byte*>(qkv.data);
  const std::size_t width_bytes = std::size_t(width) * size_of(qkv.dtype);
  return {.q = first,
          .k = first + width_bytes,
          .v = first + 2 * width_bytes,
          .visible = nullptr,
          .out = out.data,
          .sequences = qkv.shape[0],
          .rows = qkv.shape[1],
          .kv_rows = qkv.shape[1],
          .heads = heads,
          .kv_heads = heads,
          .head_dim = width / heads,
          .q_stride = stride,
          .kv_stride = stride,
          .out_stride = width,
          .scale = scale,
          .dtype = qkv.dtype,
          .out_type = out.dtype,
          .quantized = nullptr,
          .quantized_scales = nullptr,
          .quantized_blocks = 0};
}

}  // namespace detail

void attention(const Stream& stream, Tensor q, Tensor k, Tensor v, Tensor visible, float scale,
               Tensor out, const ScaledMatrix& quantized) {
  run(kOp, stream, detail::attention_params(stream, q, k, v, visible, scale, out, quantized));
}

void attention_packed(const Stream& stream, Tensor qkv, int heads, float scale, Tensor out) {
  run(kPackedOp, stream, detail::attention_packed_params(stream, qkv, heads, scale, out));
}

}  // namespace saccade::ops
