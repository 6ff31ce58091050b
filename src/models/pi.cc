#include "models/pi.h"

#include <cmath>

#include "core/check.h"
#include "models/names.h"
#include "saccade/ops/embedding.h"
#include "saccade/ops/flow.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/rope.h"

namespace saccade::models {
namespace {

constexpr float kRopeBase = 10000;

void report(const Probe& probe, const std::string& stage, Tensor tensor) {
  if (probe) probe(stage, tensor);
}

std::string at_step(int step, const char* stage) {
  return "step." + std::to_string(step) + "." + stage;
}

}  // namespace

Pi::Pi(const PiDims& dims, PiPlan plan)
    : dims_(dims),
      plan_(std::move(plan)),
      vision_(dims.vision, dims.prefix.width),
      prefix_(dims.prefix, names::kPrefix, Gemma::Norms::kPlain,
              plan_.prefix_output ? Gemma::Output::kHidden : Gemma::Output::kCache),
      expert_(dims.expert, names::kExpert,
              dims.model == Model::kPi05 ? Gemma::Norms::kAdaptive : Gemma::Norms::kPlain,
              Gemma::Output::kHidden),
      suffix_(dims.model == Model::kPi05 ? make_pi05_suffix(dims, expert_)
                                         : make_pi0_suffix(dims)) {}

int Pi::max_prefix_rows() const {
  return plan_.max_views * dims_.vision.tokens() + plan_.max_tokens;
}

int Pi::suffix_rows() const { return suffix_->leading_rows() + plan_.actions; }

void Pi::declare(WeightList& list) {
  vision_.declare(list);
  list.matrix(weights_.embedding, {{names::kEmbedding, {dims_.vocabulary, dims_.prefix.width}}});
  prefix_.declare(list);
  expert_.declare(list);
  suffix_->declare(list);
  list.stored(weights_.out_weight,
              {{"action_out_proj.weight", {dims_.max_action_dim, dims_.expert.width}}});
  list.vector(weights_.out_bias, {{"action_out_proj.bias", {dims_.max_action_dim}}});
}

void Pi::allocate(Arena& arena) {
  const int prefix_rows = max_prefix_rows();
  const int rows = prefix_rows + suffix_rows();
  const int size = dims_.vision.image_size;
  const DType type = plan_.activations;

  inputs_.pixels = arena.allocate({plan_.max_views, 3, size, size}, DType::kF32);
  inputs_.tokens = arena.allocate({plan_.max_tokens}, DType::kI32);
  if (dims_.max_state_dim > 0)
    inputs_.state = arena.allocate({1, dims_.max_state_dim}, DType::kF32);
  inputs_.x = arena.allocate({plan_.actions, dims_.max_action_dim}, DType::kF32);

  vision_.allocate(arena, plan_.max_views);
  prefix_.allocate(arena, prefix_rows, type);
  expert_.allocate(arena, suffix_rows(), type);
  suffix_->allocate(arena, plan_.actions, steps());
  cache_.allocate(arena, dims_.prefix, rows, type);

  a_.embed = arena.allocate({prefix_rows, dims_.prefix.width}, DType::kF32);
  if (plan_.prefix_output) a_.prefix_out = arena.allocate(a_.embed.shape, DType::kF32);
  a_.positions = arena.allocate({rows}, DType::kI32);
  a_.visible = arena.allocate({suffix_rows()}, DType::kI32);
  a_.suffix_in = arena.allocate({suffix_rows(), dims_.expert.width}, DType::kF32);
  a_.suffix_out = arena.allocate({suffix_rows(), dims_.expert.width}, DType::kF32);
  a_.velocity = arena.allocate({plan_.actions, dims_.max_action_dim}, DType::kF32);
  a_.rope_table = arena.allocate({rows, dims_.prefix.head_dim}, DType::kF32);
}

void Pi::prepare(const Stream& s) {
  ops::rope_table(kRopeBase, a_.rope_table);
  for (int row = 0; row < a_.positions.shape[0]; ++row) a_.positions.as<int>()[row] = row;
  suffix_->prepare(s, plan_.times, plan_.periods);
}

void Pi::see(const Stream& s, int views, const Probe& probe) const {
  const int tokens = dims_.vision.tokens();
  vision_.run(s, inputs_.pixels.rows(0, views), a_.embed.rows(0, views * tokens));
  for (int view = 0; view < views; ++view) {
    report(probe, "vision." + std::to_string(view), a_.embed.rows(view * tokens, tokens));
  }
}

void Pi::read_prompt(const Stream& s, int views, int tokens, const Probe& probe) {
  const int image_rows = views * dims_.vision.tokens();
  const int rows = image_rows + tokens;
  const Tensor embed = a_.embed.rows(0, rows);
  const Tensor out = plan_.prefix_output ? a_.prefix_out.rows(0, rows) : Tensor{};

  ops::embedding(s, inputs_.tokens.rows(0, tokens), weights_.embedding,
                 std::sqrt(float(dims_.prefix.width)), embed.rows(image_rows, tokens));
  report(probe, "prefix.embs", embed);

  prefix_.run(s, embed, a_.positions.rows(0, rows), a_.rope_table, {}, 0, {}, cache_, out);
  for (int layer = 0; layer < dims_.prefix.layers; ++layer) {
    const std::string stage = "kv." + std::to_string(layer);
    report(probe, stage + ".k", cache_.k[std::size_t(layer)].rows(0, rows));
    report(probe, stage + ".v", cache_.v[std::size_t(layer)].rows(0, rows));
  }
  if (out) report(probe, "prefix.out", out);

  suffix_->embed_state(s, inputs_.state, a_.suffix_in);
  cached_ = rows;
  const int leading = suffix_->leading_rows();
  for (int row = 0; row < suffix_rows(); ++row) {
    a_.visible.as<int>()[row] = rows + (row < leading ? leading : suffix_rows());
  }
}

void Pi::step(const Stream& s, int step, const Probe& probe) {
  const int leading = suffix_->leading_rows();
  const Tensor x = inputs_.x;
  const float dt = -1.0f / float(steps());

  suffix_->embed(s, step, x, a_.suffix_in);
  report(probe, at_step(step, "suffix_in"), a_.suffix_in);
  if (suffix_->condition(step)) report(probe, at_step(step, "cond"), suffix_->condition(step));

  expert_.run(s, a_.suffix_in, a_.positions.rows(cached_, suffix_rows()), a_.rope_table,
              suffix_->modulations(step), cached_, a_.visible, cache_, a_.suffix_out);
  report(probe, at_step(step, "suffix_out"), a_.suffix_out);

  ops::gemm(s, a_.suffix_out.rows(leading, plan_.actions), weights_.out_weight,
            {.bias = weights_.out_bias}, a_.velocity);
  report(probe, at_step(step, "v"), a_.velocity);
  ops::euler_step(s, x, a_.velocity, dt);
}

bool Pi::is_unused(const PiDims& dims, bool prefix_output, const std::string& name) {
  // The language-model heads, SigLIP's pooling head, buffers that the engine computes, and the
  // statistics that early LeRobot versions kept among the weights.
  if (name == names::kPaligemma + "lm_head.weight" ||
      name == "paligemma_with_expert.gemma_expert.lm_head.weight" ||
      name == names::kExpert + "embed_tokens.weight" ||
      name.starts_with(names::kVision + "head.") || name.ends_with(".position_ids") ||
      name.ends_with(".rotary_emb.inv_freq") || name.starts_with("normalize_") ||
      name.starts_with("unnormalize_")) {
    return true;
  }
  if (prefix_output) return false;
  const std::string last =
      names::kPrefix + "layers." + std::to_string(dims.prefix.layers - 1) + ".";
  return name == names::kPrefix + "norm.weight" || name == last + "self_attn.o_proj.weight" ||
         name == last + "post_attention_layernorm.weight" || name.starts_with(last + "mlp.");
}

}  // namespace saccade::models
