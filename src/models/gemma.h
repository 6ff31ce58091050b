#pragma once

#include <vector>

#include "core/arena.h"
#include "models/dims.h"
#include "models/probe.h"
#include "models/weights.h"
#include "saccade/ops/norm.h"
#include "saccade/stream.h"

namespace saccade::models {

/// Keys (after RoPE) and values of every layer, in the row of their position.
struct KvCache {
  std::vector<Tensor> k;  // [rows, kv_heads, head_dim]
  std::vector<Tensor> v;

  void allocate(Arena&, const GemmaDims&, int rows, DType);
};

/// What a tower's norms multiply with and add at each step, and the gates of the branches behind
/// them. For adaRMS; a plain RMSNorm has only its weight.
struct NormTables {
  Tensor scale;  // [norms, steps, width] f32, 1 + scale
  Tensor shift;  // [norms, steps, width] f32
  Tensor gate;   // [norms, steps, width] f32
};

/// A Gemma tower: the prefix of a policy, or its action expert.
///
/// No norm runs by itself. Whatever stores rows of the residual stream x also stores x * scale and
/// the sums of squares of x (ops::NormOutputs); the projection behind the norm divides its rows by
/// the rms and adds shift W^T, which only the step and the weights decide. Only activations in e4m3
/// need a norm that sees whole rows, for their scales.
class Gemma {
 public:
  enum class Norms { kPlain, kAdaptive };
  enum class Output {
    kHidden,  // the last layer's rows
    kCache,   // only keys and values: the last layer stops after them
  };

  /// What the products of the layers are of.
  enum class Operands {
    kPlain,          // weights and activations in the policy's precision
    kScaledWeights,  // weights in e4m3; few rows that they multiply in f16 where others are in bf16
    kScaled,         // weights and activations in e4m3; keys, values and queries are not
  };

  Gemma(const GemmaDims&, std::string root, Norms, Output, Operands);

  void declare(WeightList&);
  void allocate(Arena&, int rows, int steps, DType activations);

  /// Makes the tables of Norms::kAdaptive, once the weights are there.
  void prepare(const Stream&, const NormTables&);

  /// Where the rows that a pass starts from are to be stored.
  struct Input {
    Tensor x;  // [rows, width] f32
    ops::NormOutputs next;
  };
  Input input(int step, int first_row, int rows) const;

  /// One forward pass over rows of input(), from first_row on. Their keys and values are written to
  /// the cache rows of their positions, which are among the first cache_rows.
  ///
  ///   positions    [rows]                 i32
  ///   rope_table   [positions, head_dim]  f32
  ///   visible      [rows]                 i32 cache rows that a row sees, at most cache_rows
  void run(const Stream&, int step, int first_row, Tensor positions, Tensor rope_table,
           Tensor visible, int cache_rows, KvCache&, const Probe& = {}) const;

  /// The rows of the last layer, as the projection behind the final norm takes them.
  struct Hidden {
    Tensor scaled;  // [rows, width]
    ops::RowNorm norm;
  };
  Hidden hidden(int first_row, int rows) const;

  /// out = the final norm of the last layer's rows; out is [rows, width] f32. For verification.
  void final_norm(const Stream&, int step, int first_row, Tensor out) const;

  int norms() const { return 2 * dims_.layers + 1; }

  /// Where the n-th of norms() has its tensors, e.g. "...layers.3.post_attention_layernorm.".
  std::string norm_name(int n) const;

 private:
  struct Layer {
    ops::ScaledMatrix qkv, out;
    ops::ScaledMatrix gate_up, down;
    Tensor qkv_bias;      // [steps, (heads + 2 kv_heads) head_dim]  shift W^T
    Tensor gate_up_bias;  // [steps, 2 mlp]
  };
  struct Activations {
    Tensor x;         // [rows, width]  residual stream, f32
    Tensor y;         // [rows, width]  x * scale of the next norm
    Tensor squares;   // [rows, parts]  sums of squares of x, f32
    Tensor qkv;       // [rows, (heads + 2 kv_heads) head_dim]
    Tensor q;         // [rows, heads, head_dim]
    Tensor attended;  // [rows, heads head_dim]
    Tensor hidden;    // [rows, mlp]

    // Operands::kScaled: the norm of x, attended and hidden.
    ops::ScaledMatrix normalized, scaled_attended, scaled_hidden;
  };

  /// What the projection behind a norm takes.
  struct Normed {
    ops::ScaledMatrix x;
    ops::RowNorm norm;
  };

  bool stops_after_keys(int layer) const;
  bool is_scaled() const { return operands_ == Operands::kScaled; }
  Normed normed(const Stream&, int norm, int step, const Activations&) const;
  ops::NormOutputs next(int norm, int step, const Activations&) const;
  Tensor scale(int norm, int step) const;  // [width]
  Tensor gate(int norm, int step) const;   // [width], absent for Norms::kPlain
  Activations rows(int first_row, int rows) const;
  void report_inside(const Probe&, const Activations&) const;

  GemmaDims dims_;
  std::string root_;
  Norms norms_;
  Output output_;
  Operands operands_;
  std::vector<Layer> layers_;
  std::vector<Tensor> norm_weights_;  // 1 + w, for Norms::kPlain
  NormTables tables_;
  Activations a_;
};

}  // namespace saccade::models
