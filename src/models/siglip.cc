#include "models/siglip.h"

#include <cmath>

#include "models/constants.h"
#include "models/names.h"
#include "saccade/ops/attention.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/image.h"
#include "saccade/ops/norm.h"

namespace saccade::models {
namespace {

constexpr float kEps = 1e-6f;

}  // namespace

Siglip::Siglip(const SiglipDims& dims, int projected_width)
    : dims_(dims), projected_width_(projected_width) {
  weights_.layers.resize(std::size_t(dims.layers));
}

void Siglip::declare(WeightList& list) {
  const int width = dims_.width;
  const std::string& root = names::kVision;
  list.precise(weights_.patch_weight, {{root + "embeddings.patch_embedding.weight",
                                        {width, 3, dims_.patch, dims_.patch}}});
  list.vector(weights_.patch_bias, {{root + "embeddings.patch_embedding.bias", {width}}});
  list.vector(weights_.position,
              {{root + "embeddings.position_embedding.weight", {dims_.tokens(), width}}});
  for (int i = 0; i < dims_.layers; ++i) {
    Layer& layer = weights_.layers[std::size_t(i)];
    const std::string at = root + "encoder.layers." + std::to_string(i) + ".";
    const auto vector = [&](Tensor& target, const std::string& name, int size) {
      list.vector(target, {{at + name, {size}}});
    };
    vector(layer.norm1_weight, "layer_norm1.weight", width);
    vector(layer.norm1_bias, "layer_norm1.bias", width);
    list.precise(layer.qkv_weight, {{at + "self_attn.q_proj.weight", {width, width}},
                                    {at + "self_attn.k_proj.weight", {width, width}},
                                    {at + "self_attn.v_proj.weight", {width, width}}});
    list.vector(layer.qkv_bias, {{at + "self_attn.q_proj.bias", {width}},
                                 {at + "self_attn.k_proj.bias", {width}},
                                 {at + "self_attn.v_proj.bias", {width}}});
    list.precise(layer.out_weight, {{at + "self_attn.out_proj.weight", {width, width}}});
    vector(layer.out_bias, "self_attn.out_proj.bias", width);
    vector(layer.norm2_weight, "layer_norm2.weight", width);
    vector(layer.norm2_bias, "layer_norm2.bias", width);
    list.precise(layer.fc1_weight, {{at + "mlp.fc1.weight", {dims_.mlp, width}}});
    vector(layer.fc1_bias, "mlp.fc1.bias", dims_.mlp);
    list.precise(layer.fc2_weight, {{at + "mlp.fc2.weight", {width, dims_.mlp}}});
    vector(layer.fc2_bias, "mlp.fc2.bias", width);
  }
  list.vector(weights_.post_norm_weight, {{root + "post_layernorm.weight", {width}}});
  list.vector(weights_.post_norm_bias, {{root + "post_layernorm.bias", {width}}});
  list.precise(weights_.projector_weight,
               {{names::kProjector + "weight", {projected_width_, width}}});
  list.vector(weights_.projector_bias, {{names::kProjector + "bias", {projected_width_}}});
}

void Siglip::allocate(Arena& arena, int views, DType type) {
  const int rows = views * dims_.tokens();
  const int patch = 3 * dims_.patch * dims_.patch;
  const int columns = type == DType::kF32 ? patch : (patch + 7) / 8 * 8;
  a_.patches = arena.allocate({views, dims_.tokens(), columns}, type);
  if (columns > patch) {
    a_.patch_weight = arena.allocate({dims_.width, columns}, type);
    a_.unit = arena.allocate({columns, patch}, DType::kF32);
  }
  a_.x = arena.allocate({rows, dims_.width}, DType::kF32);
  a_.y = arena.allocate({rows, dims_.width}, type);
  a_.qkv = arena.allocate({rows, 3 * dims_.width}, type);
  a_.attended = arena.allocate({rows, dims_.width}, type);
  a_.hidden = arena.allocate({rows, dims_.mlp}, type);
}

void Siglip::prepare(const Stream& s) {
  const Tensor& weight = weights_.patch_weight;
  weights_.patch_weight = weight.reshaped({dims_.width, int(weight.shape.size() / dims_.width)});
  if (!a_.patch_weight) return;
  upload_unit(s, a_.unit);
  ops::gemm(s, weights_.patch_weight, a_.unit, {}, a_.patch_weight);
}

void Siglip::run(const Stream& s, Tensor pixels, Tensor out, const ops::NormOutputs& next,
                 const Probe& probe) const {
  const int views = pixels.shape[0];
  const int tokens = dims_.tokens();
  const int rows = views * tokens;
  const Tensor x = a_.x.rows(0, rows);
  const Tensor y = a_.y.rows(0, rows);
  const Tensor qkv = a_.qkv.rows(0, rows);
  const Tensor attended = a_.attended.rows(0, rows);
  const Tensor hidden = a_.hidden.rows(0, rows);
  const float scale = 1 / std::sqrt(float(dims_.head_dim()));
  using ops::Activation;

  const Tensor& patch_weight = a_.patch_weight ? a_.patch_weight : weights_.patch_weight;
  ops::patch_embedding(s, pixels, patch_weight, weights_.patch_bias, weights_.position,
                       a_.patches.rows(0, views), x.reshaped({views, tokens, dims_.width}));
  for (const Layer& l : weights_.layers) {
    ops::layer_norm(s, x, l.norm1_weight, l.norm1_bias, kEps, y);
    ops::gemm(s, y, l.qkv_weight, {.bias = l.qkv_bias}, qkv);
    ops::attention_packed(s, qkv.reshaped({views, tokens, 3 * dims_.width}), dims_.heads, scale,
                          attended.reshaped({views, tokens, dims_.width}));
    ops::gemm(s, attended, l.out_weight, {.bias = l.out_bias, .residual = x}, x);
    ops::layer_norm(s, x, l.norm2_weight, l.norm2_bias, kEps, y);
    ops::gemm(s, y, l.fc1_weight, {.bias = l.fc1_bias, .activation = Activation::kGelu}, hidden);
    ops::gemm(s, hidden, l.fc2_weight, {.bias = l.fc2_bias, .residual = x}, x);
    if (!probe) continue;
    probe("inside.vision.qkv", qkv);
    probe("inside.vision.attended", attended);
    probe("inside.vision.hidden", hidden);
  }
  ops::layer_norm(s, x, weights_.post_norm_weight, weights_.post_norm_bias, kEps, y);
  ops::gemm(s, y, weights_.projector_weight, {.bias = weights_.projector_bias, .next = next}, out);
}

}  // namespace saccade::models
