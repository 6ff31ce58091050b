#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/arena.h"
#include "models/dims.h"
#include "models/gemma.h"
#include "models/probe.h"
#include "models/siglip.h"
#include "models/suffix.h"

namespace saccade::models {

/// What a Pi0 or Pi0.5 is built for, beside its dims.
struct PiPlan {
  int max_views = 3;
  int max_tokens = 200;             // of the prompt
  int actions = 50;                 // rows of a chunk
  DType activations = DType::kF32;  // of the Gemma towers; residual streams are f32
  bool prefix_output = false;       // also compute the prefix's last hidden rows, for verification
  TimePeriods periods;
  std::vector<float> times;  // of the denoising steps, from 1 towards 0
};

/// Pi0 or Pi0.5: camera pixels, prompt tokens, state and noise to a chunk of normalised actions.
///
///   embed    = concat(siglip(view)..., E[token] sqrt(width))
///   cache    = keys and values of the prefix over embed
///   x        = noise; for each step: v = out_proj(expert(suffix(x, t), cache)); x += dt v
///
/// Views and tokens that are not there are not computed: every row is valid.
class Pi {
 public:
  /// The buffers that an inference reads, at fixed addresses.
  struct Inputs {
    Tensor pixels;  // [max_views, 3, image_size, image_size]  f32
    Tensor tokens;  // [max_tokens]                            i32
    Tensor state;   // [1, max_state_dim]                      f32, Pi0 only
    Tensor x;       // [actions, max_action_dim]               f32: noise in, actions out
  };

  Pi(const PiDims&, PiPlan);

  void declare(WeightList&);
  void allocate(Arena&);

  /// Makes the tables, once the weights are there.
  void prepare(const Stream&);

  /// Runs the vision tower over the first `views` views.
  void see(const Stream&, int views, const Probe& = {}) const;

  /// Fills the cache from the views and the first `tokens` tokens, and embeds the state.
  void read_prompt(const Stream&, int views, int tokens, const Probe& = {});

  /// One denoising step: x += dt v(x, times[step]).
  void step(const Stream&, int step, const Probe& = {});

  const Inputs& inputs() const { return inputs_; }
  int steps() const { return int(plan_.times.size()); }

  /// Tensors that checkpoints carry and that never reach the actions.
  static bool is_unused(const PiDims&, bool prefix_output, const std::string& canonical_name);

 private:
  struct Weights {
    Tensor embedding;             // [vocabulary, width]
    Tensor out_weight, out_bias;  // action_out_proj
  };
  struct Activations {
    Tensor embed;       // [prefix rows, width]
    Tensor prefix_out;  // [prefix rows, width], with prefix_output
    Tensor positions;   // [prefix rows + suffix rows] i32: 0, 1, 2, ...
    Tensor visible;     // [suffix rows] i32
    Tensor suffix_in;   // [suffix rows, expert width]
    Tensor suffix_out;  // [suffix rows, expert width]
    Tensor velocity;    // [actions, max_action_dim] f32
    Tensor rope_table;  // [positions, head_dim] f32
  };

  int max_prefix_rows() const;
  int suffix_rows() const;

  PiDims dims_;
  PiPlan plan_;
  Siglip vision_;
  Gemma prefix_;
  Gemma expert_;
  std::unique_ptr<Suffix> suffix_;
  Weights weights_;
  Inputs inputs_;
  Activations a_;
  KvCache cache_;
  int cached_ = 0;  // prefix rows in the cache
};

}  // namespace saccade::models
