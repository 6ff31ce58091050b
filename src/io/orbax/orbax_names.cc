#include "io/orbax/orbax_names.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <string_view>

#include "core/check.h"

namespace saccade::io::orbax {
namespace {

constexpr auto kOp = "orbax";
constexpr std::int64_t kMaxLayers = 1000;

// `axes` reads as in einops: the axes of the leaf, then those of the tensor. "l" is the layer,
// "i/n" takes index i of an axis of n, and parentheses merge. "*" in `canonical` is the layer.
struct Rule {
  const char* leaf;
  const char* axes;
  const char* canonical;
};

constexpr auto kVisionLeaf = "PaliGemma/img/";
constexpr auto kPaligemma = "paligemma_with_expert.paligemma.model.";
constexpr Rule kVision[] = {
    {"embedding/kernel", "y x c w -> w c y x",
     "vision_tower.vision_model.embeddings.patch_embedding.weight"},
    {"embedding/bias", "w -> w", "vision_tower.vision_model.embeddings.patch_embedding.bias"},
    {"pos_embedding", "0/1 p w -> p w",
     "vision_tower.vision_model.embeddings.position_embedding.weight"},
    {"Transformer/encoder_norm/scale", "w -> w", "vision_tower.vision_model.post_layernorm.weight"},
    {"Transformer/encoder_norm/bias", "w -> w", "vision_tower.vision_model.post_layernorm.bias"},
    {"head/kernel", "i o -> o i", "multi_modal_projector.linear.weight"},
    {"head/bias", "o -> o", "multi_modal_projector.linear.bias"},
};

constexpr auto kEncoderLeaf = "PaliGemma/img/Transformer/encoderblock/";
constexpr auto kEncoder =
    "paligemma_with_expert.paligemma.model.vision_tower.vision_model.encoder.layers.*.";
constexpr Rule kEncoderBlock[] = {
    {"LayerNorm_0/scale", "l w -> w", "layer_norm1.weight"},
    {"LayerNorm_0/bias", "l w -> w", "layer_norm1.bias"},
    {"LayerNorm_1/scale", "l w -> w", "layer_norm2.weight"},
    {"LayerNorm_1/bias", "l w -> w", "layer_norm2.bias"},
    {"MlpBlock_0/Dense_0/kernel", "l i o -> o i", "mlp.fc1.weight"},
    {"MlpBlock_0/Dense_0/bias", "l o -> o", "mlp.fc1.bias"},
    {"MlpBlock_0/Dense_1/kernel", "l i o -> o i", "mlp.fc2.weight"},
    {"MlpBlock_0/Dense_1/bias", "l o -> o", "mlp.fc2.bias"},
    {"MultiHeadDotProductAttention_0/query/kernel", "l i n h -> (n h) i",
     "self_attn.q_proj.weight"},
    {"MultiHeadDotProductAttention_0/query/bias", "l n h -> (n h)", "self_attn.q_proj.bias"},
    {"MultiHeadDotProductAttention_0/key/kernel", "l i n h -> (n h) i", "self_attn.k_proj.weight"},
    {"MultiHeadDotProductAttention_0/key/bias", "l n h -> (n h)", "self_attn.k_proj.bias"},
    {"MultiHeadDotProductAttention_0/value/kernel", "l i n h -> (n h) i",
     "self_attn.v_proj.weight"},
    {"MultiHeadDotProductAttention_0/value/bias", "l n h -> (n h)", "self_attn.v_proj.bias"},
    {"MultiHeadDotProductAttention_0/out/kernel", "l n h o -> o (n h)",
     "self_attn.out_proj.weight"},
    {"MultiHeadDotProductAttention_0/out/bias", "l o -> o", "self_attn.out_proj.bias"},
};

// The prefix tower and the expert share these leaves; "#" becomes "" or "_1".
constexpr auto kTowerLeaf = "PaliGemma/llm/";
constexpr auto kPrefixTower = "paligemma_with_expert.paligemma.model.language_model.";
constexpr auto kExpertTower = "paligemma_with_expert.gemma_expert.model.";
constexpr Rule kTower[] = {
    {"layers/attn/q_einsum#/w", "l n i h -> (n h) i", "layers.*.self_attn.q_proj.weight"},
    {"layers/attn/kv_einsum#/w", "l 0/2 n i h -> (n h) i", "layers.*.self_attn.k_proj.weight"},
    {"layers/attn/kv_einsum#/w", "l 1/2 n i h -> (n h) i", "layers.*.self_attn.v_proj.weight"},
    {"layers/attn/attn_vec_einsum#/w", "l n h o -> o (n h)", "layers.*.self_attn.o_proj.weight"},
    {"layers/mlp#/gating_einsum", "l 0/2 i o -> o i", "layers.*.mlp.gate_proj.weight"},
    {"layers/mlp#/gating_einsum", "l 1/2 i o -> o i", "layers.*.mlp.up_proj.weight"},
    {"layers/mlp#/linear", "l i o -> o i", "layers.*.mlp.down_proj.weight"},
    {"layers/pre_attention_norm#/scale", "l w -> w", "layers.*.input_layernorm.weight"},
    {"layers/pre_ffw_norm#/scale", "l w -> w", "layers.*.post_attention_layernorm.weight"},
    {"final_norm#/scale", "w -> w", "norm.weight"},
    {"layers/pre_attention_norm#/Dense_0/kernel", "l i o -> o i",
     "layers.*.input_layernorm.dense.weight"},
    {"layers/pre_attention_norm#/Dense_0/bias", "l o -> o", "layers.*.input_layernorm.dense.bias"},
    {"layers/pre_ffw_norm#/Dense_0/kernel", "l i o -> o i",
     "layers.*.post_attention_layernorm.dense.weight"},
    {"layers/pre_ffw_norm#/Dense_0/bias", "l o -> o",
     "layers.*.post_attention_layernorm.dense.bias"},
    {"final_norm#/Dense_0/kernel", "i o -> o i", "norm.dense.weight"},
    {"final_norm#/Dense_0/bias", "o -> o", "norm.dense.bias"},
};
constexpr Rule kEmbedder = {"embedder/input_embedding", "v w -> v w", "embed_tokens.weight"};

constexpr const char* kProjections[] = {"action_in_proj",     "action_out_proj",     "state_proj",
                                        "action_time_mlp_in", "action_time_mlp_out", "time_mlp_in",
                                        "time_mlp_out"};

std::string replaced(std::string text, char placeholder, const std::string& with) {
  const auto at = text.find(placeholder);
  return at == std::string::npos ? text : text.replace(at, 1, with);
}

struct FullRule {
  const char* axes;
  std::string canonical;
};

using Rules = std::multimap<std::string, FullRule>;

void add(Rules& rules, const std::string& leaf, const std::string& canonical, const Rule& rule,
         const std::string& tower = "") {
  rules.insert({leaf + replaced(rule.leaf, '#', tower), {rule.axes, canonical + rule.canonical}});
}

Rules all_rules() {
  Rules rules;
  for (const auto& rule : kVision) add(rules, kVisionLeaf, kPaligemma, rule);
  for (const auto& rule : kEncoderBlock) add(rules, kEncoderLeaf, kEncoder, rule);
  for (const auto& rule : kTower) add(rules, kTowerLeaf, kPrefixTower, rule);
  for (const auto& rule : kTower) add(rules, kTowerLeaf, kExpertTower, rule, "_1");
  add(rules, kTowerLeaf, kPrefixTower, kEmbedder);
  for (const std::string projection : kProjections) {
    rules.insert({projection + "/kernel", {"i o -> o i", projection + ".weight"}});
    rules.insert({projection + "/bias", {"o -> o", projection + ".bias"}});
  }
  return rules;
}

struct Axis {
  std::int64_t extent;
  std::int64_t stride;
};

// A rule applied to the shape of a leaf.
struct Layout {
  bool layered = false;
  std::string index;  // the fixed indices behind the layer: ",1"
  std::int64_t offset = 0;
  std::vector<std::vector<Axis>> axes;  // of the tensor; each is a merge of one or more
};

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

Layout apply(const std::string& leaf, std::string_view rule,
             const std::vector<std::int64_t>& extents) {
  const auto arrow = rule.find("->");
  const auto sources = words_of(rule.substr(0, arrow));
  bool fits = sources.size() == extents.size();
  Layout layout;
  std::map<char, Axis> named;
  std::int64_t stride = 1;
  for (std::size_t axis = fits ? sources.size() : 0; axis-- > 0; stride *= extents[axis]) {
    const std::string& source = sources[axis];
    if (source == "l") {
      layout.layered = true;
    } else if (source.size() == 3) {  // "i/n"
      fits = fits && extents[axis] == source[2] - '0';
      layout.offset += (source[0] - '0') * stride;
      if (source[2] != '1') layout.index = std::string(",") + source[0];
    } else {
      named[source[0]] = {extents[axis], stride};
    }
  }
  std::ostringstream shape;
  for (const auto extent : extents) shape << ' ' << extent;
  SACCADE_CHECK(fits, kOp, "params/", leaf, " must have the axes \"", rule.substr(0, arrow - 1),
                "\", its extents are", shape.str());
  bool merging = false;
  for (const char letter : rule.substr(arrow + 2)) {
    if (letter == '(') layout.axes.emplace_back();
    if (letter == '(' || letter == ')') merging = letter == '(';
    if (named.count(letter) == 0) continue;
    if (!merging) layout.axes.emplace_back();
    layout.axes.back().push_back(named.at(letter));
  }
  return layout;
}

Placement place(const Layout& layout) {
  Placement placement;
  placement.offset = layout.offset;
  for (const auto& merged : layout.axes) {
    std::int64_t extent = 1;
    bool first = true;
    for (const Axis& axis : merged) {
      extent *= axis.extent;
      const bool neighbours = !first && placement.view_strides.back() == axis.extent * axis.stride;
      if (neighbours) {
        placement.view_extents.back() *= axis.extent;
        placement.view_strides.back() = axis.stride;
      } else {
        placement.view_extents.push_back(axis.extent);
        placement.view_strides.push_back(axis.stride);
      }
      first = false;
    }
    placement.extents.push_back(extent);
  }
  return placement;
}

}  // namespace

LeafPlacement place_leaf(const std::string& leaf, const std::vector<std::int64_t>& extents) {
  static const Rules rules = all_rules();
  LeafPlacement result;
  const auto [begin, end] = rules.equal_range(leaf);
  for (auto rule = begin; rule != end; ++rule) {
    const Layout layout = apply(leaf, rule->second.axes, extents);
    result.layered = layout.layered;
    const std::int64_t layers = layout.layered ? extents[0] : 1;
    SACCADE_CHECK(layers <= kMaxLayers, kOp, "params/", leaf, " has ", layers,
                  " layers, more than ", kMaxLayers);
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      Placement placement = place(layout);
      const std::string number = std::to_string(layer);
      placement.canonical = replaced(rule->second.canonical, '*', number);
      if (layout.layered) placement.index = "[" + number + layout.index + "]";
      placement.layer = layer;
      result.tensors.push_back(std::move(placement));
    }
  }
  return result;
}

}  // namespace saccade::io::orbax
