#include "models/gemma.h"

#include <cmath>

#include "saccade/ops/attention.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/norm.h"
#include "saccade/ops/rope.h"

namespace saccade::models {
namespace {

constexpr float kEps = 1e-6f;

void norm(const Stream& s, Tensor x, const NormOperand& operand, Tensor out) {
  if (operand.modulation) return ops::ada_rms_norm(s, x, operand.modulation, kEps, out);
  ops::rms_norm(s, x, operand.weight, kEps, out);
}

/// The branch's gate: adaRMS's third row, or nothing.
Tensor gate(const NormOperand& operand) {
  if (!operand.modulation) return {};
  const int width = operand.modulation.shape[1];
  return operand.modulation.rows(2, 1).reshaped({width});
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
  const auto plain_norm = [&](Tensor& target, int n) {
    if (norms_ == Norms::kPlain) list.vector(target, {{norm_name(n) + "weight", {width}}}, 1);
  };
  for (int i = 0; i < dims_.layers; ++i) {
    Layer& layer = layers_[std::size_t(i)];
    const std::string at = root_ + "layers." + std::to_string(i) + ".";
    plain_norm(layer.norm1, 2 * i);
    list.matrix(layer.qkv, {{at + "self_attn.q_proj.weight", {queries, width}},
                            {at + "self_attn.k_proj.weight", {keys, width}},
                            {at + "self_attn.v_proj.weight", {keys, width}}});
    if (stops_after_keys(i)) continue;
    list.matrix(layer.out, {{at + "self_attn.o_proj.weight", {width, queries}}});
    plain_norm(layer.norm2, 2 * i + 1);
    list.matrix(layer.gate_up, {{at + "mlp.gate_proj.weight", {dims_.mlp, width}},
                                {at + "mlp.up_proj.weight", {dims_.mlp, width}}});
    list.matrix(layer.down, {{at + "mlp.down_proj.weight", {width, dims_.mlp}}});
  }
  if (output_ == Output::kHidden) plain_norm(final_norm_, 2 * dims_.layers);
}

void Gemma::allocate(Arena& arena, int rows, DType type) {
  a_.x = arena.allocate({rows, dims_.width}, DType::kF32);
  a_.y = arena.allocate({rows, dims_.width}, type);
  a_.qkv = arena.allocate({rows, dims_.qkv()}, type);
  a_.q = arena.allocate({rows, dims_.heads, dims_.head_dim}, type);
  a_.attended = arena.allocate({rows, dims_.heads * dims_.head_dim}, type);
  a_.hidden = arena.allocate({rows, dims_.mlp}, type);
}

NormOperand Gemma::operand(int norm, Tensor weight, Tensor modulations) const {
  if (norms_ == Norms::kPlain) return {.weight = weight, .modulation = {}};
  return {.weight = {}, .modulation = modulations.rows(norm, 1).reshaped({3, dims_.width})};
}

void Gemma::run(const Stream& s, Tensor in, Tensor positions, Tensor rope_table, Tensor modulations,
                int cached, Tensor visible, KvCache& cache, Tensor out) const {
  const int rows = in.shape[0];
  const Tensor x = a_.x.rows(0, rows);
  const Tensor y = a_.y.rows(0, rows);
  const Tensor qkv = a_.qkv.rows(0, rows);
  const Tensor q = a_.q.rows(0, rows);
  const Tensor attended = a_.attended.rows(0, rows);
  const Tensor hidden = a_.hidden.rows(0, rows);
  const float scale = 1 / std::sqrt(float(dims_.head_dim));

  Tensor residual = in;
  for (int i = 0; i < dims_.layers; ++i) {
    const Layer& l = layers_[std::size_t(i)];
    const NormOperand norm1 = operand(2 * i, l.norm1, modulations);
    const NormOperand norm2 = operand(2 * i + 1, l.norm2, modulations);
    const Tensor k = cache.k[std::size_t(i)];
    const Tensor v = cache.v[std::size_t(i)];

    norm(s, residual, norm1, y);
    ops::gemm(s, y, l.qkv, {}, qkv);
    ops::rope(s, qkv, positions, rope_table, q, k.rows(cached, rows), v.rows(cached, rows));
    if (stops_after_keys(i)) return;
    ops::attention(s, q, k.rows(0, cached + rows), v.rows(0, cached + rows), visible, scale,
                   attended);
    ops::gemm(s, attended, l.out, {.gate = gate(norm1), .residual = residual}, x);
    norm(s, x, norm2, y);
    ops::gemm(s, y, l.gate_up, {.activation = ops::Activation::kGeglu}, hidden);
    ops::gemm(s, hidden, l.down, {.gate = gate(norm2), .residual = x}, x);
    residual = x;
  }
  norm(s, x, operand(2 * dims_.layers, final_norm_, modulations), out);
}

}  // namespace saccade::models
