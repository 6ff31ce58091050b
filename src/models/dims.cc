#include "models/dims.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/check.h"
#include "models/names.h"

namespace saccade::models {
namespace {

// Heads of the published SigLIP widths (big_vision's variants).
struct SiglipHeads {
  int width;
  int heads;
};
constexpr std::array<SiglipHeads, 9> kSiglipHeads{{{192, 3},
                                                   {384, 6},
                                                   {512, 8},
                                                   {768, 12},
                                                   {1024, 16},
                                                   {1152, 16},
                                                   {1280, 16},
                                                   {1408, 16},
                                                   {1536, 16}}};
constexpr int kAssumedSiglipHeads = 4;
constexpr int kGemmaHeads = 8;

/// 1 + the largest i of the names "<prefix>i.<rest>".
int count_layers(const TensorShapes& shapes, const std::string& prefix, int otherwise) {
  int layers = 0;
  for (auto it = shapes.lower_bound(prefix); it != shapes.end(); ++it) {
    if (!it->first.starts_with(prefix)) break;
    const std::string digits = it->first.substr(prefix.size(), 6);
    const auto end = digits.find_first_not_of("0123456789");
    if (end == 0 || end == std::string::npos) continue;
    layers = std::max(layers, std::stoi(digits.substr(0, end)) + 1);
  }
  return layers > 0 ? layers : otherwise;
}

/// An extent of the first of these tensors that is there and has enough axes.
int extent(const TensorShapes& shapes, const std::string& before, int layers,
           const std::string& after, std::size_t axis, int otherwise) {
  for (int i = 0; i < layers; ++i) {
    const auto it = shapes.find(before + std::to_string(i) + "." + after);
    if (it == shapes.end() || it->second.size() <= axis || it->second[axis] <= 0) continue;
    return static_cast<int>(it->second[axis]);
  }
  return otherwise;
}

int extent(const TensorShapes& shapes, const std::string& name, std::size_t axis, int otherwise) {
  const auto it = shapes.find(name);
  if (it == shapes.end() || it->second.size() <= axis || it->second[axis] <= 0) return otherwise;
  return static_cast<int>(it->second[axis]);
}

bool has(const TensorShapes& shapes, const std::string& prefix) {
  const auto it = shapes.lower_bound(prefix);
  return it != shapes.end() && it->first.starts_with(prefix);
}

GemmaDims gemma_dims(const TensorShapes& shapes, const std::string& root, GemmaDims published) {
  const std::string layer = root + "layers.";
  GemmaDims dims = published;
  dims.layers = count_layers(shapes, layer, published.layers);
  dims.width = extent(shapes, layer, dims.layers, "self_attn.q_proj.weight", 1, published.width);
  dims.mlp = extent(shapes, layer, dims.layers, "mlp.gate_proj.weight", 0, published.mlp);
  const int queries = extent(shapes, layer, dims.layers, "self_attn.q_proj.weight", 0,
                             published.heads * published.head_dim);
  SACCADE_CHECK(queries % kGemmaHeads == 0 && queries / kGemmaHeads % 2 == 0, "load", root,
                "layers.*.self_attn.q_proj.weight has ", queries, " rows, which ", kGemmaHeads,
                " heads of an even head_dim cannot share");
  dims.heads = kGemmaHeads;
  dims.head_dim = queries / kGemmaHeads;
  const int keys = extent(shapes, layer, dims.layers, "self_attn.k_proj.weight", 0,
                          published.kv_heads * dims.head_dim);
  dims.kv_heads = std::max(1, keys / dims.head_dim);
  SACCADE_CHECK(dims.heads % dims.kv_heads == 0, "load", root,
                "layers.*.self_attn.k_proj.weight has ", keys, " rows: ", dims.kv_heads,
                " kv heads do not divide ", dims.heads, " heads");
  return dims;
}

int siglip_heads(int width, std::optional<int> given, std::vector<std::string>& warnings) {
  if (given) {
    SACCADE_CHECK(*given > 0 && width % *given == 0, "load", "--vision-heads ", *given,
                  " does not divide SigLIP's width ", width);
    return *given;
  }
  for (const SiglipHeads& published : kSiglipHeads) {
    if (published.width == width) return published.heads;
  }
  SACCADE_CHECK(width % kAssumedSiglipHeads == 0, "load", "SigLIP's width ", width,
                " is not a published one: give its heads with --vision-heads");
  warnings.push_back("SigLIP's width " + std::to_string(width) + " is not a published one; " +
                     std::to_string(kAssumedSiglipHeads) +
                     " heads are assumed (--vision-heads says otherwise)");
  return kAssumedSiglipHeads;
}

SiglipDims siglip_dims(const TensorShapes& shapes, std::optional<int> heads,
                       std::vector<std::string>& warnings) {
  const SiglipDims published;
  const std::string layer = names::kVision + "encoder.layers.";
  const std::string embeddings = names::kVision + "embeddings.";
  SiglipDims dims;
  dims.layers = count_layers(shapes, layer, published.layers);
  dims.width = extent(shapes, embeddings + "patch_embedding.weight", 0, published.width);
  dims.patch = extent(shapes, embeddings + "patch_embedding.weight", 3, published.patch);
  dims.mlp = extent(shapes, layer, dims.layers, "mlp.fc1.weight", 0, published.mlp);
  const int tokens =
      extent(shapes, embeddings + "position_embedding.weight", 0, published.tokens());
  const int side = static_cast<int>(std::lround(std::sqrt(double(tokens))));
  SACCADE_CHECK(side * side == tokens, "load", embeddings, "position_embedding.weight has ", tokens,
                " rows, which is no square grid of patches");
  dims.image_size = side * dims.patch;
  dims.heads = siglip_heads(dims.width, heads, warnings);
  return dims;
}

}  // namespace

Model detect_model(const TensorShapes& shapes, const std::string& source) {
  const auto refuse = [&](const char* what) {
    fail("load", source, " is ", what, ", which this version cannot run");
  };
  if (!has(shapes, "paligemma_with_expert.")) {
    for (const auto& [name, extents] : shapes) {
      if (name.find("vlm_with_expert.") != std::string::npos) refuse("a SmolVLA checkpoint");
      if (name.find("action_head.") != std::string::npos) refuse("a GR00T checkpoint");
    }
    fail("load", source, " is no Pi0 or Pi0.5 checkpoint: it has no paligemma_with_expert tensors");
  }
  if (!has(shapes, names::kExpert) && !has(shapes, "action_in_proj.")) {
    refuse("a Pi0-FAST checkpoint (it has no action expert)");
  }
  const bool adaptive = has(shapes, names::kExpert + "norm.dense.") ||
                        has(shapes, names::kExpert + "layers.0.input_layernorm.dense.");
  const bool plain = has(shapes, names::kExpert + "norm.weight") ||
                     has(shapes, names::kExpert + "layers.0.input_layernorm.weight");
  const bool state = has(shapes, "state_proj.");
  SACCADE_CHECK(!(adaptive && plain), "load", source,
                " has both adaRMS (Pi0.5) and plain (Pi0) norms in its action expert");
  SACCADE_CHECK(!(adaptive && state), "load", source,
                " has adaRMS norms (Pi0.5) and a state_proj (Pi0): it is neither model");
  if (adaptive || plain) return adaptive ? Model::kPi05 : Model::kPi0;
  return state ? Model::kPi0 : Model::kPi05;
}

PiDims derive_dims(Model model, const TensorShapes& shapes, std::optional<int> vision_heads,
                   std::vector<std::string>& warnings) {
  PiDims dims;
  dims.model = model;
  dims.vision = siglip_dims(shapes, vision_heads, warnings);
  dims.prefix = gemma_dims(shapes, names::kPrefix, dims.prefix);
  dims.expert = gemma_dims(shapes, names::kExpert, dims.expert);
  dims.vocabulary = extent(shapes, names::kEmbedding, 0, dims.vocabulary);
  dims.max_action_dim = extent(shapes, "action_in_proj.weight", 1, dims.max_action_dim);
  dims.max_state_dim =
      model == Model::kPi0 ? extent(shapes, "state_proj.weight", 1, dims.max_state_dim) : 0;
  SACCADE_CHECK(
      dims.prefix.layers == dims.expert.layers && dims.prefix.head_dim == dims.expert.head_dim &&
          dims.prefix.kv_heads == dims.expert.kv_heads,
      "load",
      "prefix and action expert must share layers, kv heads and head_dim: ", dims.prefix.layers,
      " x ", dims.prefix.kv_heads, " x ", dims.prefix.head_dim, " and ", dims.expert.layers, " x ",
      dims.expert.kv_heads, " x ", dims.expert.head_dim);
  return dims;
}

}  // namespace saccade::models
