// Pi0.5: action rows alone; the time reaches the expert through adaRMS.
//
//   action rows  = action_in_proj(x)
//   condition    = silu(time_mlp_out(silu(time_mlp_in(time_embedding(t)))))
//   modulation   = dense_n(condition), for each of the expert's norms: scale, shift, gate
//
// Condition and modulations depend only on the time and the weights, so they are tables.

#include "models/constants.h"
#include "models/suffix.h"
#include "saccade/ops/gemm.h"

namespace saccade::models {
namespace {

class Pi05Suffix : public Suffix {
 public:
  Pi05Suffix(const PiDims& dims, const Gemma& expert) : dims_(dims) {
    for (int n = 0; n < expert.norms(); ++n) dense_names_.push_back(expert.norm_name(n) + "dense.");
    dense_.resize(dense_names_.size());
  }

  void declare(WeightList& list) override {
    const int width = dims_.expert.width;
    const auto linear = [&](Linear& l, const std::string& name, int out, int in,
                            Lifetime lifetime) {
      list.stored(l.weight, {{name + "weight", {out, in}}}, lifetime);
      list.vector(l.bias, {{name + "bias", {out}}});
    };
    linear(action_in_, "action_in_proj.", width, dims_.max_action_dim, Lifetime::kPolicy);
    linear(time_in_, "time_mlp_in.", width, width, Lifetime::kLoad);
    linear(time_out_, "time_mlp_out.", width, width, Lifetime::kLoad);
    for (std::size_t n = 0; n < dense_.size(); ++n) {
      linear(dense_[n], dense_names_[n], 3 * width, width, Lifetime::kLoad);
    }
  }

  void allocate(Arena& arena, int, int steps, DType) override {
    const int width = dims_.expert.width;
    const Shape table{int(dense_.size()), steps, width};
    time_ = arena.allocate({steps, width}, DType::kF32);
    hidden_ = arena.allocate({steps, width}, DType::kF32);
    condition_ = arena.allocate({steps, width}, DType::kF32);
    ones_ = arena.allocate({steps, width}, DType::kF32);
    tables_.scale = arena.allocate(table, DType::kF32);
    tables_.shift = arena.allocate(table, DType::kF32);
    tables_.gate = arena.allocate(table, DType::kF32);
  }

  void prepare(const Stream& s, std::span<const float> times, TimePeriods periods) override {
    const ops::Activation silu = ops::Activation::kSilu;
    upload_time_embeddings(s, times, periods, time_);
    upload_constant(s, 1, ones_);
    ops::gemm(s, time_, time_in_.weight, {.bias = time_in_.bias, .activation = silu}, hidden_);
    ops::gemm(s, hidden_, time_out_.weight, {.bias = time_out_.bias, .activation = silu},
              condition_);
    for (std::size_t n = 0; n < dense_.size(); ++n) {
      modulate(s, int(n), 0, ones_, tables_.scale);
      modulate(s, int(n), 1, {}, tables_.shift);
      modulate(s, int(n), 2, {}, tables_.gate);
    }
  }

  int leading_rows() const override { return 0; }
  void embed_state(const Stream&, Tensor, const Gemma::Input&) const override {}

  void embed(const Stream& s, int, Tensor x, const Gemma::Input& out) const override {
    ops::gemm(s, x, action_in_.weight, {.bias = action_in_.bias, .next = out.next}, out.x);
  }

  NormTables norm_tables() const override { return tables_; }

  Tensor condition(int step) const override { return condition_.rows(step, 1); }

 private:
  struct Linear {
    Tensor weight, bias;
  };

  /// The n-th norm's part of the modulation, at every step.
  void modulate(const Stream& s, int n, int part, Tensor added, Tensor tables) const {
    const Linear& dense = dense_[std::size_t(n)];
    const int width = dims_.expert.width;
    ops::gemm(s, condition_, dense.weight.rows(part * width, width),
              {.bias = dense.bias.rows(part * width, width), .residual = added},
              tables.rows(n, 1).reshaped(condition_.shape));
  }

  PiDims dims_;
  std::vector<std::string> dense_names_;
  Linear action_in_, time_in_, time_out_;
  std::vector<Linear> dense_;  // one for each of the expert's norms
  Tensor time_;                // [steps, width]
  Tensor hidden_;              // [steps, width]
  Tensor condition_;           // [steps, width]
  Tensor ones_;                // [steps, width]
  NormTables tables_;
};

}  // namespace

std::unique_ptr<Suffix> make_pi05_suffix(const PiDims& dims, const Gemma& expert) {
  return std::make_unique<Pi05Suffix>(dims, expert);
}

}  // namespace saccade::models
