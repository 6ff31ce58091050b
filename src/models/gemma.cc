#include "models/gemma.h"

#include <algorithm>
#include <cmath>

#include "models/names.h"
#include "saccade/ops/attention.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/norm.h"

namespace saccade::models {
namespace {

constexpr float kEps = 1e-6f;
constexpr int kFewRows = 64;  // of the action expert

/// Row `step` of the n-th of several tables, as a vector.
Tensor entry(const Tensor& tables, int n, int step) {
  const int size = tables.shape[2];
  const Tensor table = tables.rows(n, 1).reshaped({tables.shape[1], size});
  return table.rows(step, 1).reshaped({size});
}

/// So many rows of a matrix. Their scales are theirs alone only until other rows are asked for.
ops::ScaledMatrix scaled_rows(const ops::ScaledMatrix& matrix, int first_row, int rows) {
  if (!matrix) return {};
  Tensor scales = matrix.scales;
  scales.shape = {scales.shape[0], rows};
  return {matrix.values.rows(first_row, rows), scales};
}

/// The matrix in e4m3, where there is one.
ops::ScaledMatrix operand(const Tensor& plain, const ops::ScaledMatrix& scaled) {
  return scaled ? scaled : ops::ScaledMatrix(plain);
}

Tensor entry(const Tensor& table, int step) {
  if (!table) return {};
  return table.rows(step, 1).reshaped({table.shape[1]});
}

}  // namespace

void KvCache::allocate(Arena& arena, const GemmaDims& dims, int rows, DType type) {
  k.resize(std::size_t(dims.layers));
  v.resize(std::size_t(dims.layers));
  for (Tensor& keys : k) keys = arena.allocate({rows, dims.kv_heads, dims.head_dim}, type);
  for (Tensor& values : v) values = arena.allocate({rows, dims.kv_heads, dims.head_dim}, type);
}

Gemma::Gemma(const GemmaDims& dims, std::string root, Norms norms, Output output, Operands operands)
    : dims_(dims), root_(std::move(root)), norms_(norms), output_(output), operands_(operands) {
  layers_.resize(std::size_t(dims.layers));
  norm_weights_.resize(std::size_t(this->norms()));
}

bool Gemma::stops_after_keys(int layer) const {
  return output_ == Output::kCache && layer == dims_.layers - 1;
}

std::string Gemma::norm_name(int n) const {
  if (n == 2 * dims_.layers) return root_ + "norm.";
  return root_ + "layers." + std::to_string(n / 2) +
         (n % 2 == 0 ? ".input_layernorm." : ".post_attention_layernorm.");
}

void Gemma::declare(WeightList& list) {
  const int width = dims_.width;
  const int queries = dims_.heads * dims_.head_dim;
  const int keys = dims_.kv_heads * dims_.head_dim;
  const auto plain_norm = [&](int n) {
    if (norms_ != Norms::kPlain) return;
    list.vector(norm_weights_[std::size_t(n)], {{norm_name(n) + "weight", {width}}}, 1);
  };
  const auto matrix = [&](ops::ScaledMatrix& target, std::vector<WeightPiece> pieces) {
    if (operands_ != Operands::kPlain) return list.scaled(target, std::move(pieces));
    list.matrix(target.values, std::move(pieces));
  };
  for (int i = 0; i < dims_.layers; ++i) {
    Layer& layer = layers_[std::size_t(i)];
    const std::string at = root_ + "layers." + std::to_string(i) + ".";
    plain_norm(2 * i);
    matrix(layer.qkv, {{at + "self_attn.q_proj.weight", {queries, width}},
                       {at + "self_attn.k_proj.weight", {keys, width}},
                       {at + "self_attn.v_proj.weight", {keys, width}}});
    if (stops_after_keys(i)) continue;
    matrix(layer.out, {{at + "self_attn.o_proj.weight", {width, queries}}});
    plain_norm(2 * i + 1);
    matrix(layer.gate_up, {{at + "mlp.gate_proj.weight", {dims_.mlp, width}},
                           {at + "mlp.up_proj.weight", {dims_.mlp, width}}});
    matrix(layer.down, {{at + "mlp.down_proj.weight", {width, dims_.mlp}}});
  }
  if (output_ == Output::kHidden) plain_norm(2 * dims_.layers);
}

void Gemma::allocate(Arena& arena, int rows, int steps, DType type) {
  // A row of many goes through wide tiles of any width, whose number must not exceed the parts.
  const int part = rows > kFewRows ? 32 : 64;
  const int parts = (dims_.width + part - 1) / part;
  // What meets weights in e4m3 is f16, as far as there are kernels for few rows: Hopper converts
  // such weights to f16 alone in one instruction.
  const bool meets_e4m3 = operands_ == Operands::kScaledWeights && type == DType::kBf16;
  const DType operand = meets_e4m3 && rows <= kFewRows ? DType::kF16 : type;
  a_.x = arena.allocate({rows, dims_.width}, DType::kF32);
  a_.y = arena.allocate({rows, dims_.width}, operand);
  a_.squares = arena.allocate({rows, parts}, DType::kF32);
  a_.qkv = arena.allocate({rows, dims_.qkv()}, type);
  a_.q = arena.allocate({rows, dims_.heads, dims_.head_dim}, type);
  a_.attended = arena.allocate({rows, dims_.heads * dims_.head_dim}, operand);
  a_.hidden = arena.allocate({rows, dims_.mlp}, operand);
  if (is_scaled()) {
    const auto scaled = [&](int columns, int blocks) {
      return ops::ScaledMatrix{arena.allocate({rows, columns}, DType::kE4m3),
                               arena.allocate({blocks, rows}, DType::kF32)};
    };
    const int queries = dims_.heads * dims_.head_dim;
    a_.normalized = scaled(dims_.width, 1);
    a_.scaled_attended = scaled(queries, ops::scale_blocks(queries));
    a_.scaled_hidden = scaled(dims_.mlp, ops::scale_blocks(dims_.mlp));
  }
  if (norms_ == Norms::kPlain) return;
  for (Layer& layer : layers_) {
    layer.qkv_bias = arena.allocate({steps, dims_.qkv()}, DType::kF32);
    layer.gate_up_bias = arena.allocate({steps, 2 * dims_.mlp}, DType::kF32);
  }
}

void Gemma::prepare(const Stream& s, const NormTables& tables) {
  tables_ = tables;
  if (norms_ == Norms::kPlain) return;
  const Shape shape{tables.shift.shape[1], dims_.width};
  for (int i = 0; i < dims_.layers; ++i) {
    const Layer& l = layers_[std::size_t(i)];
    ops::gemm(s, tables.shift.rows(2 * i, 1).reshaped(shape), l.qkv, {}, l.qkv_bias);
    if (stops_after_keys(i)) continue;
    ops::gemm(s, tables.shift.rows(2 * i + 1, 1).reshaped(shape), l.gate_up, {}, l.gate_up_bias);
  }
}

Tensor Gemma::scale(int norm, int step) const {
  if (norms_ == Norms::kPlain) return norm_weights_[std::size_t(norm)];
  return entry(tables_.scale, norm, step);
}

Tensor Gemma::gate(int norm, int step) const {
  if (norms_ == Norms::kPlain) return {};
  return entry(tables_.gate, norm, step);
}

Gemma::Activations Gemma::rows(int first_row, int rows) const {
  return {.x = a_.x.rows(first_row, rows),
          .y = a_.y.rows(first_row, rows),
          .squares = a_.squares.rows(first_row, rows),
          .qkv = a_.qkv.rows(first_row, rows),
          .q = a_.q.rows(first_row, rows),
          .attended = a_.attended.rows(first_row, rows),
          .hidden = a_.hidden.rows(first_row, rows),
          .normalized = scaled_rows(a_.normalized, first_row, rows),
          .scaled_attended = scaled_rows(a_.scaled_attended, first_row, rows),
          .scaled_hidden = scaled_rows(a_.scaled_hidden, first_row, rows)};
}

Gemma::Input Gemma::input(int step, int first_row, int rows) const {
  const Activations a = this->rows(first_row, rows);
  return {.x = a.x, .next = next(0, step, a)};
}

ops::NormOutputs Gemma::next(int norm, int step, const Activations& a) const {
  const bool is_last = norm == 2 * dims_.layers;
  if (is_last ? output_ != Output::kHidden : is_scaled()) return {};
  return {.scale = scale(norm, step), .scaled = a.y, .squares = a.squares};
}

Gemma::Normed Gemma::normed(const Stream& s, int norm, int step, const Activations& a) const {
  if (!is_scaled()) return {.x = a.y, .norm = {.squares = a.squares, .eps = kEps}};
  ops::rms_norm(s, a.x, scale(norm, step), {}, kEps, a.normalized);
  return {.x = a.normalized, .norm = {}};
}

void Gemma::run(const Stream& s, int step, int first_row, Tensor positions, Tensor rope_table,
                Tensor visible, int cache_rows, KvCache& cache, const Probe& probe) const {
  const Activations a = rows(first_row, positions.shape[0]);
  const float softmax_scale = 1 / std::sqrt(float(dims_.head_dim));
  for (int i = 0; i < dims_.layers; ++i) {
    const Layer& l = layers_[std::size_t(i)];
    const Tensor k = cache.k[std::size_t(i)].rows(0, cache_rows);
    const Tensor v = cache.v[std::size_t(i)].rows(0, cache_rows);
    const Tensor q = stops_after_keys(i) ? Tensor{} : a.q;
    const Normed in = normed(s, 2 * i, step, a);
    ops::project_qkv(s, in.x, l.qkv, in.norm, entry(l.qkv_bias, step), positions, rope_table, a.qkv,
                     q, k, v);
    if (stops_after_keys(i)) return;
    ops::attention(s, q, k, v, visible, softmax_scale, a.attended, a.scaled_attended);
    ops::gemm(s, operand(a.attended, a.scaled_attended), l.out,
              {.gate = gate(2 * i, step), .residual = a.x, .next = next(2 * i + 1, step, a)}, a.x);
    const Normed attended = normed(s, 2 * i + 1, step, a);
    ops::gemm(s, attended.x, l.gate_up,
              {.norm = attended.norm,
               .bias = entry(l.gate_up_bias, step),
               .activation = ops::Activation::kGeglu,
               .quantized = a.scaled_hidden},
              a.hidden);
    ops::gemm(s, operand(a.hidden, a.scaled_hidden), l.down,
              {.gate = gate(2 * i + 1, step), .residual = a.x, .next = next(2 * i + 2, step, a)},
              a.x);
    if (probe) report_inside(probe, a);
  }
}

void Gemma::report_inside(const Probe& probe, const Activations& a) const {
  const std::string at = root_ == names::kExpert ? "inside.expert." : "inside.prefix.";
  if (!is_scaled()) {
    probe(at + "attended", a.attended);
    return probe(at + "hidden", a.hidden);
  }
  probe(at + "normalized scales", a.normalized.scales);
  probe(at + "attended scales", a.scaled_attended.scales);
  probe(at + "hidden scales", a.scaled_hidden.scales);
}

Gemma::Hidden Gemma::hidden(int first_row, int rows) const {
  const Activations a = this->rows(first_row, rows);
  return {.scaled = a.y, .norm = {.squares = a.squares, .eps = kEps}};
}

void Gemma::final_norm(const Stream& s, int step, int first_row, Tensor out) const {
  const Tensor x = a_.x.rows(first_row, out.shape[0]);
  const int last = 2 * dims_.layers;
  const Tensor shift = norms_ == Norms::kAdaptive ? entry(tables_.shift, last, step) : Tensor{};
  ops::rms_norm(s, x, scale(last, step), shift, kEps, out);
}

}  // namespace saccade::models
