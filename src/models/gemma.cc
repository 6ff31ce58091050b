#include "models/gemma.h"

#include <algorithm>
#include <cmath>

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

Gemma::Gemma(const GemmaDims& dims, std::string root, Norms norms, Output output)
    : dims_(dims), root_(std::move(root)), norms_(norms), output_(output) {
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
  for (int i = 0; i < dims_.layers; ++i) {
    Layer& layer = layers_[std::size_t(i)];
    const std::string at = root_ + "layers." + std::to_string(i) + ".";
    plain_norm(2 * i);
    list.matrix(layer.qkv, {{at + "self_attn.q_proj.weight", {queries, width}},
                            {at + "self_attn.k_proj.weight", {keys, width}},
                            {at + "self_attn.v_proj.weight", {keys, width}}});
    if (stops_after_keys(i)) continue;
    list.matrix(layer.out, {{at + "self_attn.o_proj.weight", {width, queries}}});
    plain_norm(2 * i + 1);
    list.matrix(layer.gate_up, {{at + "mlp.gate_proj.weight", {dims_.mlp, width}},
                                {at + "mlp.up_proj.weight", {dims_.mlp, width}}});
    list.matrix(layer.down, {{at + "mlp.down_proj.weight", {width, dims_.mlp}}});
  }
  if (output_ == Output::kHidden) plain_norm(2 * dims_.layers);
}

void Gemma::allocate(Arena& arena, int rows, int steps, DType type) {
  // A row of many goes through wide tiles of any width, whose number must not exceed the parts.
  const int part = rows > kFewRows ? 32 : 64;
  const int parts = (dims_.width + part - 1) / part;
  a_.x = arena.allocate({rows, dims_.width}, DType::kF32);
  a_.y = arena.allocate({rows, dims_.width}, type);
  a_.squares = arena.allocate({rows, parts}, DType::kF32);
  a_.qkv = arena.allocate({rows, dims_.qkv()}, type);
  a_.q = arena.allocate({rows, dims_.heads, dims_.head_dim}, type);
  a_.attended = arena.allocate({rows, dims_.heads * dims_.head_dim}, type);
  a_.hidden = arena.allocate({rows, dims_.mlp}, type);
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
          .hidden = a_.hidden.rows(first_row, rows)};
}

Gemma::Input Gemma::input(int step, int first_row, int rows) const {
  const Activations a = this->rows(first_row, rows);
  return {.x = a.x, .next = {.scale = scale(0, step), .scaled = a.y, .squares = a.squares}};
}

void Gemma::run(const Stream& s, int step, int first_row, Tensor positions, Tensor rope_table,
                Tensor visible, int cache_rows, KvCache& cache) const {
  const Activations a = rows(first_row, positions.shape[0]);
  const ops::RowNorm norm{.squares = a.squares, .eps = kEps};
  const float softmax_scale = 1 / std::sqrt(float(dims_.head_dim));
  const auto next = [&](int n) {
    const bool is_there = n < 2 * dims_.layers || output_ == Output::kHidden;
    if (!is_there) return ops::NormOutputs{};
    return ops::NormOutputs{.scale = scale(n, step), .scaled = a.y, .squares = a.squares};
  };
  for (int i = 0; i < dims_.layers; ++i) {
    const Layer& l = layers_[std::size_t(i)];
    const Tensor k = cache.k[std::size_t(i)].rows(0, cache_rows);
    const Tensor v = cache.v[std::size_t(i)].rows(0, cache_rows);
    const Tensor q = stops_after_keys(i) ? Tensor{} : a.q;
    ops::project_qkv(s, a.y, l.qkv, norm, entry(l.qkv_bias, step), positions, rope_table, a.qkv, q,
                     k, v);
    if (stops_after_keys(i)) return;
    ops::attention(s, q, k, v, visible, softmax_scale, a.attended);
    ops::gemm(s, a.attended, l.out,
              {.gate = gate(2 * i, step), .residual = a.x, .next = next(2 * i + 1)}, a.x);
    ops::gemm(
        s, a.y, l.gate_up,
        {.norm = norm, .bias = entry(l.gate_up_bias, step), .activation = ops::Activation::kGeglu},
        a.hidden);
    ops::gemm(s, a.hidden, l.down,
              {.gate = gate(2 * i + 1, step), .residual = a.x, .next = next(2 * i + 2)}, a.x);
  }
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
