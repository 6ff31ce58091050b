#include "models/pi.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "models/constants.h"
#include "models/names.h"
#include "saccade/ops/embedding.h"
#include "saccade/ops/gemm.h"

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
              plan_.prefix_output ? Gemma::Output::kHidden : Gemma::Output::kCache, plan_.prefix),
      expert_(dims.expert, names::kExpert,
              dims.model == Model::kPi05 ? Gemma::Norms::kAdaptive : Gemma::Norms::kPlain,
              Gemma::Output::kHidden, plan_.expert),
      suffix_(dims.model == Model::kPi05 ? make_pi05_suffix(dims, expert_)
                                         : make_pi0_suffix(dims)) {}

int Pi::prefix_rows(int views, int tokens) const {
  const int rows = views * dims_.vision.tokens() + tokens;
  return (rows + plan_.row_step - 1) / plan_.row_step * plan_.row_step;
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

Pi::Inputs Pi::allocate_inputs(Arena& arena) const {
  Inputs inputs;
  inputs.tokens = arena.allocate({max_prefix_rows()}, DType::kI32);
  if (dims_.max_state_dim > 0) {
    inputs.state = arena.allocate({1, dims_.max_state_dim}, DType::kF32);
  }
  inputs.positions = arena.allocate({suffix_rows()}, DType::kI32);
  inputs.prefix_visible = arena.allocate({max_prefix_rows()}, DType::kI32);
  inputs.suffix_visible = arena.allocate({suffix_rows()}, DType::kI32);
  inputs.x = arena.allocate({plan_.actions, dims_.max_action_dim}, DType::kF32);
  inputs.previous = arena.allocate({plan_.actions, dims_.max_action_dim}, DType::kF32);
  inputs.guidance = arena.allocate({steps(), plan_.actions}, DType::kF32);
  return inputs;
}

void Pi::allocate(Arena& arena, const Inputs& inputs) {
  const int rows = max_prefix_rows() + suffix_rows();
  const int size = dims_.vision.image_size;
  const DType type = plan_.activations;
  inputs_ = inputs;

  vision_.allocate(arena, plan_.max_views, plan_.precise);
  prefix_.allocate(arena, max_prefix_rows(), 1, type);
  expert_.allocate(arena, suffix_rows(), steps(), type);
  suffix_->allocate(arena, plan_.actions, steps(), plan_.precise);
  cache_.allocate(arena, dims_.prefix, rows, type);

  a_.pixels = arena.allocate({plan_.max_views, 3, size, size}, DType::kF32);
  if (plan_.prefix_output) {
    a_.prefix_out = arena.allocate({max_prefix_rows(), dims_.prefix.width}, DType::kF32);
  }
  a_.counting = arena.allocate({max_prefix_rows()}, DType::kI32);
  a_.suffix_out = arena.allocate({suffix_rows(), dims_.expert.width}, DType::kF32);
  a_.velocity = arena.allocate({plan_.actions, dims_.max_action_dim}, DType::kF32);
  if (dims_.model == Model::kPi05) {
    a_.velocity_bias = arena.allocate({steps(), dims_.max_action_dim}, DType::kF32);
  }
  a_.dt = arena.allocate({dims_.max_action_dim}, DType::kF32);
  a_.rope_table = arena.allocate({rows, dims_.prefix.head_dim}, DType::kF32);
}

void Pi::prepare(const Stream& s) {
  upload_rope_table(s, kRopeBase, a_.rope_table);
  upload_counting(s, a_.counting);
  upload_constant(s, -1.0f / float(steps()), a_.dt);
  vision_.prepare(s);
  suffix_->prepare(s, plan_.times, plan_.periods);
  const NormTables tables = suffix_->norm_tables();
  prefix_.prepare(s, {});
  expert_.prepare(s, tables);
  if (!tables.shift) return;
  const Shape shape{steps(), dims_.expert.width};
  const Tensor last = tables.shift.rows(expert_.norms() - 1, 1).reshaped(shape);
  ops::gemm(s, last, weights_.out_weight, {.bias = weights_.out_bias}, a_.velocity_bias);
}

Tensor Pi::velocity_bias(int step) const {
  if (!a_.velocity_bias) return weights_.out_bias;
  return a_.velocity_bias.rows(step, 1).reshaped({dims_.max_action_dim});
}

void Pi::write_lengths(const Inputs& on_host, int views, int tokens) const {
  const int seen = views * dims_.vision.tokens() + tokens;
  const int leading = suffix_->leading_rows();
  const auto behind_prompt = on_host.tokens.as<int>() + tokens;
  std::fill(behind_prompt, on_host.tokens.as<int>() + on_host.tokens.shape[0], 0);
  std::fill_n(on_host.prefix_visible.as<int>(), max_prefix_rows(), seen);
  for (int row = 0; row < suffix_rows(); ++row) {
    on_host.positions.as<int>()[row] = seen + row;
    on_host.suffix_visible.as<int>()[row] = seen + (row < leading ? leading : suffix_rows());
  }
}

void Pi::see(const Stream& s, int views, const Probe& probe) const {
  const int tokens = dims_.vision.tokens();
  const Gemma::Input out = prefix_.input(0, 0, views * tokens);
  vision_.run(s, a_.pixels.rows(0, views), out.x, out.next, probe);
  for (int view = 0; view < views; ++view) {
    report(probe, "vision." + std::to_string(view), out.x.rows(view * tokens, tokens));
  }
}

void Pi::read_prompt(const Stream& s, int views, int rows, const Probe& probe, int reported) {
  const int image_rows = views * dims_.vision.tokens();
  const int text_rows = rows - image_rows;
  if (text_rows > 0) {
    const Gemma::Input out = prefix_.input(0, image_rows, text_rows);
    ops::embedding(s, inputs_.tokens.rows(0, text_rows), weights_.embedding,
                   std::sqrt(float(dims_.prefix.width)), out.next, out.x);
  }
  report(probe, "prefix.embs", prefix_.input(0, 0, rows).x.rows(0, reported));

  prefix_.run(s, 0, 0, a_.counting.rows(0, rows), a_.rope_table,
              inputs_.prefix_visible.rows(0, rows), rows, cache_, probe);
  for (int layer = 0; layer < dims_.prefix.layers; ++layer) {
    const std::string stage = "kv." + std::to_string(layer);
    report(probe, stage + ".k", cache_.k[std::size_t(layer)].rows(0, reported));
    report(probe, stage + ".v", cache_.v[std::size_t(layer)].rows(0, reported));
  }
  if (!plan_.prefix_output) return;
  prefix_.final_norm(s, 0, 0, a_.prefix_out.rows(0, rows));
  report(probe, "prefix.out", a_.prefix_out.rows(0, reported));
}

void Pi::step(const Stream& s, int step, int prefix_rows, const Probe& probe) {
  // The leading rows see no action: their keys and values are the same at every step.
  const int leading = suffix_->leading_rows();
  const int first = step == 0 || probe ? 0 : leading;
  const int rows = suffix_rows() - first;
  const Tensor x = inputs_.x;

  if (first < leading) suffix_->embed_state(s, inputs_.state, expert_.input(step, 0, leading));
  suffix_->embed(s, step, x, expert_.input(step, leading, plan_.actions));
  report(probe, at_step(step, "suffix_in"), expert_.input(step, 0, suffix_rows()).x);
  if (suffix_->condition(step)) report(probe, at_step(step, "cond"), suffix_->condition(step));

  expert_.run(s, step, first, inputs_.positions.rows(first, rows), a_.rope_table,
              inputs_.suffix_visible.rows(first, rows), prefix_rows + suffix_rows(), cache_, probe);
  if (probe) report_step(s, step, probe);

  const Gemma::Hidden hidden = expert_.hidden(leading, plan_.actions);
  const Tensor weights = inputs_.guidance.rows(step, 1).reshaped({plan_.actions});
  ops::gemm(s, hidden.scaled, weights_.out_weight,
            {.norm = hidden.norm,
             .bias = velocity_bias(step),
             .gate = a_.dt,
             .residual = x,
             .guidance = {inputs_.previous, weights, plan_.times[std::size_t(step)]}},
            x);
}

void Pi::report_step(const Stream& s, int step, const Probe& probe) const {
  const int leading = suffix_->leading_rows();
  expert_.final_norm(s, step, 0, a_.suffix_out);
  report(probe, at_step(step, "suffix_out"), a_.suffix_out);
  const Gemma::Hidden hidden = expert_.hidden(leading, plan_.actions);
  ops::gemm(s, hidden.scaled, weights_.out_weight,
            {.norm = hidden.norm, .bias = velocity_bias(step)}, a_.velocity);
  report(probe, at_step(step, "v"), a_.velocity);
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
