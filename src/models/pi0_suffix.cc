// Pi0: one state row, then action rows that carry the time.
//
//   state row    = state_proj(state)
//   action rows  = mlp_out(silu(mlp_in([action_in_proj(x) | time_embedding(t)])))
//
// action_in_proj and mlp_in have nothing between them, so they are one matrix of max_action_dim
// columns. The time half of mlp_in is the same for every row, so it becomes a bias per step.

#include "models/constants.h"
#include "models/suffix.h"
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
    list.stored(mlp_action_weight_, {{mlp_in, {width, 2 * width}, 0, width}}, Lifetime::kLoad);
    list.stored(mlp_time_weight_, {{mlp_in, {width, 2 * width}, width, width}}, Lifetime::kLoad);
    list.vector(mlp_in_bias_, {{"action_time_mlp_in.bias", {width}}});
    list.precise(mlp_out_weight_, {{"action_time_mlp_out.weight", {width, width}}});
    list.vector(mlp_out_bias_, {{"action_time_mlp_out.bias", {width}}});
  }

  void allocate(Arena& arena, int actions, int steps, DType type) override {
    const int width = dims_.expert.width;
    const int inputs = dims_.max_action_dim;
    identity_ = arena.allocate({inputs, inputs}, DType::kF32);
    action_columns_ = arena.allocate({inputs, width}, DType::kF32);
    in_weight_ = arena.allocate({width, inputs}, DType::kF32);
    in_bias_ = arena.allocate({1, width}, DType::kF32);
    time_ = arena.allocate({steps, width}, DType::kF32);
    time_bias_ = arena.allocate({steps, width}, DType::kF32);
    hidden_ = arena.allocate({actions, width}, type);
  }

  void prepare(const Stream& s, std::span<const float> times, TimePeriods periods) override {
    const int width = dims_.expert.width;
    upload_unit(s, identity_);
    ops::gemm(s, identity_, action_weight_, {}, action_columns_);
    ops::gemm(s, mlp_action_weight_, action_columns_, {}, in_weight_);
    ops::gemm(s, action_bias_.reshaped({1, width}), mlp_action_weight_, {.bias = mlp_in_bias_},
              in_bias_);
    upload_time_embeddings(s, times, periods, time_);
    ops::gemm(s, time_, mlp_time_weight_, {.bias = in_bias_.reshaped({width})}, time_bias_);
  }

  int leading_rows() const override { return 1; }

  void embed_state(const Stream& s, Tensor state, const Gemma::Input& out) const override {
    ops::gemm(s, state, state_weight_, {.bias = state_bias_, .next = out.next}, out.x);
  }

  void embed(const Stream& s, int step, Tensor x, const Gemma::Input& out) const override {
    const Tensor bias = time_bias_.rows(step, 1).reshaped({dims_.expert.width});
    ops::gemm(s, x, in_weight_, {.bias = bias, .activation = ops::Activation::kSilu}, hidden_);
    ops::gemm(s, hidden_, mlp_out_weight_, {.bias = mlp_out_bias_, .next = out.next}, out.x);
  }

  NormTables norm_tables() const override { return {}; }
  Tensor condition(int) const override { return {}; }

 private:
  PiDims dims_;
  Tensor state_weight_, state_bias_;
  Tensor action_weight_, action_bias_;
  Tensor mlp_action_weight_, mlp_time_weight_, mlp_in_bias_;
  Tensor mlp_out_weight_, mlp_out_bias_;
  Tensor identity_;        // [inputs, inputs], inputs = max_action_dim
  Tensor action_columns_;  // [inputs, width]  action_in_proj, transposed
  Tensor in_weight_;       // [width, inputs]  mlp_in o action_in_proj
  Tensor in_bias_;         // [1, width]
  Tensor time_;            // [steps, width]
  Tensor time_bias_;       // [steps, width]  time half of mlp_in, with in_bias
  Tensor hidden_;          // [actions, width]
};

}  // namespace

std::unique_ptr<Suffix> make_pi0_suffix(const PiDims& dims) {
  return std::make_unique<Pi0Suffix>(dims);
}

}  // namespace saccade::models
