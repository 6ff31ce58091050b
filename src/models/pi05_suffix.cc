// Pi0.5: action rows alone; the time reaches the expert through adaRMS.
//
//   action rows  = action_in_proj(x)
//   condition    = silu(time_mlp_out(silu(time_mlp_in(time_embedding(t)))))
//   modulation   = dense_n(condition), for each of the expert's norms: scale, shift, gate
//
// Condition and modulations depend only on the time and the weights, so they are tables.

#include "models/suffix.h"
#include "saccade/ops/flow.h"
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

  void allocate(Arena& arena, int, int steps) override {
    const int width = dims_.expert.width;
    time_ = arena.allocate({steps, width}, DType::kF32);
    hidden_ = arena.allocate({steps, width}, DType::kF32);
    condition_ = arena.allocate({steps, width}, DType::kF32);
    modulations_ = arena.allocate({steps, int(dense_.size()), 3 * width}, DType::kF32);
  }

  void prepare(const Stream& s, std::span<const float> times, TimePeriods periods) override {
    const ops::Activation silu = ops::Activation::kSilu;
    for (std::size_t i = 0; i < times.size(); ++i) {
      ops::time_embedding(times[i], periods.min, periods.max,
                          time_.rows(int(i), 1).reshaped({dims_.expert.width}));
    }
    ops::gemm(s, time_, time_in_.weight, {.bias = time_in_.bias, .activation = silu}, hidden_);
    ops::gemm(s, hidden_, time_out_.weight, {.bias = time_out_.bias, .activation = silu},
              condition_);
    for (std::size_t i = 0; i < times.size(); ++i) {
      for (std::size_t n = 0; n < dense_.size(); ++n) {
        ops::gemm(s, condition(int(i)), dense_[n].weight, {.bias = dense_[n].bias},
                  modulations(int(i)).rows(int(n), 1));
      }
    }
  }

  int leading_rows() const override { return 0; }
  void embed_state(const Stream&, Tensor, Tensor) const override {}

  void embed(const Stream& s, int, Tensor x, Tensor out) const override {
    ops::gemm(s, x, action_in_.weight, {.bias = action_in_.bias}, out);
  }

  Tensor modulations(int step) const override {
    return modulations_.rows(step, 1).reshaped({modulations_.shape[1], modulations_.shape[2]});
  }

  Tensor condition(int step) const override { return condition_.rows(step, 1); }

 private:
  struct Linear {
    Tensor weight, bias;
  };

  PiDims dims_;
  std::vector<std::string> dense_names_;
  Linear action_in_, time_in_, time_out_;
  std::vector<Linear> dense_;  // one for each of the expert's norms
  Tensor time_;                // [steps, width]
  Tensor hidden_;              // [steps, width]
  Tensor condition_;           // [steps, width]
  Tensor modulations_;         // [steps, 2 layers + 1, 3 width]
};

}  // namespace

std::unique_ptr<Suffix> make_pi05_suffix(const PiDims& dims, const Gemma& expert) {
  return std::make_unique<Pi05Suffix>(dims, expert);
}

}  // namespace saccade::models
