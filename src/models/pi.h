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
  int max_tokens = 200;  // of the prompt
  int actions = 50;      // rows of a chunk
  Gemma::Operands prefix = Gemma::Operands::kPlain;
  Gemma::Operands expert = Gemma::Operands::kPlain;
  DType activations = DType::kF32;  // of the Gemma towers; residual streams are f32
  DType precise = DType::kF32;      // of what the references keep in f32 even where they run in
                                    // bf16: the vision tower, and what embeds the actions; or f16
  int row_step = 1;                 // the prefix is computed in a multiple of this many rows
  bool prefix_output = false;       // also compute the prefix's last hidden rows, for verification
  TimePeriods periods;
  std::vector<float> times;  // of the denoising steps, from 1 towards 0
};

/// Pi0 or Pi0.5: camera pixels, prompt tokens, state and noise to a chunk of normalised actions.
///
///   embed    = concat(siglip(view)..., E[token] sqrt(width))
///   cache    = keys and values of the prefix over embed
///   x        = noise; for each step: v = out_proj(expert(suffix(x, t), cache))
///                                    v -= guidance (previous - (x - t v)); x += dt v
///
/// Views that are not there are not computed. The numbers of views and of prefix rows decide which
/// ops run; everything else about an inference is in the inputs, so that a recorded sequence of
/// ops serves every prompt that rounds up to as many rows.
class Pi {
 public:
  /// The buffers that an inference reads, at fixed addresses.
  struct Inputs {
    Tensor tokens;          // [max_prefix_rows]      i32; 0 behind the prompt
    Tensor state;           // [1, max_state_dim]     f32, Pi0 only
    Tensor x;               // [actions, max_action_dim]  f32: noise in, actions out
    Tensor positions;       // [suffix rows]          i32
    Tensor prefix_visible;  // [max_prefix_rows]      i32
    Tensor suffix_visible;  // [suffix rows]          i32
    Tensor previous;        // [actions, max_action_dim]  f32: the chunk that the new one continues
    Tensor guidance;  // [steps, actions]           f32: how much each step pulls rows towards it
  };

  Pi(const PiDims&, PiPlan);

  void declare(WeightList&);

  /// Takes the inputs alone from an arena: one on the host mirrors the one that the ops read.
  Inputs allocate_inputs(Arena&) const;

  void allocate(Arena&, const Inputs&);

  /// Makes the tables, once the weights are there.
  void prepare(const Stream&);

  /// Writes what follows from the numbers of views and prompt tokens into inputs on the host:
  /// positions, what rows see, and the padding of the tokens.
  void write_lengths(const Inputs& on_host, int views, int tokens) const;

  /// Prefix rows that are computed for so many views and tokens.
  int prefix_rows(int views, int tokens) const;
  int max_prefix_rows() const { return prefix_rows(plan_.max_views, plan_.max_tokens); }

  /// Runs the vision tower over the first `views` views of pixels().
  void see(const Stream&, int views, const Probe& = {}) const;

  /// Fills the cache from the views and the tokens, in prefix_rows() rows. The probe sees the
  /// first `reported` of them.
  void read_prompt(const Stream&, int views, int prefix_rows, const Probe& = {}, int reported = 0);

  /// One denoising step behind a prompt of prefix_rows() rows: x += dt v(x, times[step]), guided.
  /// The first also embeds the state.
  void step(const Stream&, int step, int prefix_rows, const Probe& = {});

  Tensor pixels() const { return a_.pixels; }  // [max_views, 3, image_size, image_size] f32
  const Inputs& inputs() const { return inputs_; }
  const std::vector<float>& times() const { return plan_.times; }  // of the steps
  int steps() const { return int(plan_.times.size()); }

  /// Tensors that checkpoints carry and that never reach the actions.
  static bool is_unused(const PiDims&, bool prefix_output, const std::string& canonical_name);

 private:
  struct Weights {
    Tensor embedding;             // [vocabulary, width]
    Tensor out_weight, out_bias;  // action_out_proj
  };
  struct Activations {
    Tensor pixels;         // [max_views, 3, image_size, image_size] f32
    Tensor prefix_out;     // [prefix rows, width], with prefix_output
    Tensor counting;       // [prefix rows] i32: 0, 1, 2, ..., the prefix's positions
    Tensor suffix_out;     // [suffix rows, expert width] f32, for verification
    Tensor velocity;       // [actions, max_action_dim] f32, for verification
    Tensor velocity_bias;  // [steps, max_action_dim] f32  shift of the final norm in v, for adaRMS
    Tensor dt;             // [max_action_dim] f32
    Tensor rope_table;     // [positions, head_dim] f32
  };

  int suffix_rows() const;
  Tensor velocity_bias(int step) const;  // [max_action_dim] f32
  void report_step(const Stream&, int step, const Probe&) const;

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
};

}  // namespace saccade::models
