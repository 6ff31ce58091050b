// Pi0: one state row, then action rows that carry the time.
//
//   state row    = state_proj(state)
//   action rows  = mlp_out(silu(mlp_in([action_in_proj(x) | time_embedding(t)])))
//
// The time half of mlp_in is the same for every row, so it becomes a bias per step.

#include "models/suffix.h"
#include "saccade/ops/flow.h"
#include "saccade/ops/gemm.h"

namespace saccade::models {
namespace {

class Pi0Suffix : public Suffix {
 public:
  explicit Pi0Suffix(const PiDims& dims) : dims_(dims) {}

  void declare(WeightList& list) override {
    const int width = dims_.expert.width;
    const auto linear = [&](Tensor& weight, Tensor& bias, const std::string& name, int in) {
      list.stored(weight, {{name + ".weight", {width, in}}});
      list.vector(bias, {{name + ".bias", {width}}});
    };
    linear(state_weight_, state_bias_, "state_proj", dims_.max_state_dim);
    linear(action_weight_, action_bias_, "action_in_proj", dims_.max_action_dim);
    const std::string mlp_in = "action_time_mlp_in.weight";
    list.stored(mlp_action_weight_, {{mlp_in, {width, 2 * width}, 0, width}});
    list.stored(mlp_time_weight_, {{mlp_in, {width, 2 * width}, width, width}}, Lifetime::kLoad);
    list.vector(mlp_in_bias_, {{"action_time_mlp_in.bias", {width}}});
    linear(mlp_out_weight_, mlp_out_bias_, "action_time_mlp_out", width);
  }

  void allocate(Arena& arena, int actions, int steps) override {
    const int width = dims_.expert.width;
    time_ = arena.allocate({steps, width}, DType::kF32);
    time_bias_ = arena.allocate({steps, width}, DType::kF32);
    action_ = arena.allocate({actions, width}, DType::kF32);
    hidden_ = arena.allocate({actions, width}, DType::kF32);
  }

  void prepare(const Stream& s, std::span<const float> times, TimePeriods periods) override {
    for (std::size_t i = 0; i < times.size(); ++i) {
      ops::time_embedding(times[i], periods.min, periods.max,
                          time_.rows(int(i), 1).reshaped({dims_.expert.width}));
    }
    ops::gemm(s, time_, mlp_time_weight_, {.bias = mlp_in_bias_}, time_bias_);
  }

  int leading_rows() const override { return 1; }

  void embed_state(const Stream& s, Tensor state, Tensor out) const override {
    ops::gemm(s, state, state_weight_, {.bias = state_bias_}, out.rows(0, 1));
  }

  void embed(const Stream& s, int step, Tensor x, Tensor out) const override {
    const Tensor bias = time_bias_.rows(step, 1).reshaped({dims_.expert.width});
    ops::gemm(s, x, action_weight_, {.bias = action_bias_}, action_);
    ops::gemm(s, action_, mlp_action_weight_, {.bias = bias, .activation = ops::Activation::kSilu},
              hidden_);
    ops::gemm(s, hidden_, mlp_out_weight_, {.bias = mlp_out_bias_}, out.rows(1, x.shape[0]));
  }

  Tensor modulations(int) const override { return {}; }
  Tensor condition(int) const override { return {}; }

 private:
  PiDims dims_;
  Tensor state_weight_, state_bias_;
  Tensor action_weight_, action_bias_;
  Tensor mlp_action_weight_, mlp_time_weight_, mlp_in_bias_;
  Tensor mlp_out_weight_, mlp_out_bias_;
  Tensor time_;       // [steps, width]
  Tensor time_bias_;  // [steps, width]  time half of mlp_in, with its bias
  Tensor action_;     // [actions, width]
  Tensor hidden_;     // [actions, width]
};

}  // namespace

std::unique_ptr<Suffix> make_pi0_suffix(const PiDims& dims) {
  return std::make_unique<Pi0Suffix>(dims);
}

}  // namespace saccade::models
