#pragma once

#include <vector>

#include "core/arena.h"
#include "models/dims.h"
#include "models/weights.h"
#include "saccade/stream.h"

namespace saccade::models {

/// Keys (after RoPE) and values of every layer, prefix rows first.
struct KvCache {
  std::vector<Tensor> k;  // [rows, kv_heads, head_dim]
  std::vector<Tensor> v;

  void allocate(Arena&, const GemmaDims&, int rows, DType);
};

/// What one norm multiplies with: a weight (RMSNorm), or a modulation (adaRMS) when that is given.
struct NormOperand {
  Tensor weight;      // [width]
  Tensor modulation;  // [3, width]: scale, shift, gate
};

/// A Gemma tower: the prefix of a policy, or its action expert.
class Gemma {
 public:
  enum class Norms { kPlain, kAdaptive };
  enum class Output {
    kHidden,  // final norm of the last layer's rows
    kCache,   // only keys and values: the last layer stops after them
  };

  Gemma(const GemmaDims&, std::string root, Norms, Output);

  void declare(WeightList&);
  void allocate(Arena&, int rows, DType activations);

  /// One forward pass over `rows` rows that follow `cached` rows of the cache. Their keys and
  /// values are written behind those.
  ///
  ///   in           [rows, width]     f32; not overwritten
  ///   positions    [rows]            i32
  ///   rope_table   [positions, head_dim]  f32
  ///   modulations  [2 layers + 1, 3 width]  f32, for Norms::kAdaptive: two norms a layer, then
  ///                the final one
  ///   visible      [rows]            i32 keys that a row sees, cached ones included; may be absent
  ///   out          [rows, width]     f32, for Output::kHidden
  void run(const Stream&, Tensor in, Tensor positions, Tensor rope_table, Tensor modulations,
           int cached, Tensor visible, KvCache&, Tensor out) const;

  int norms() const { return 2 * dims_.layers + 1; }

  /// Where the n-th of norms() has its tensors, e.g. "...layers.3.post_attention_layernorm.".
  std::string norm_name(int n) const;

 private:
  struct Layer {
    Tensor norm1, norm2;  // 1 + w
    Tensor qkv, out;
    Tensor gate_up, down;
  };
  struct Activations {
    Tensor x;         // [rows, width]  residual stream, f32
    Tensor y;         // [rows, width]  normed
    Tensor qkv;       // [rows, (heads + 2 kv_heads) head_dim]
    Tensor q;         // [rows, heads, head_dim]
    Tensor attended;  // [rows, heads head_dim]
    Tensor hidden;    // [rows, mlp]
  };

  bool stops_after_keys(int layer) const;
  NormOperand operand(int norm, Tensor weight, Tensor modulations) const;

  GemmaDims dims_;
  std::string root_;
  Norms norms_;
  Output output_;
  std::vector<Layer> layers_;
  Tensor final_norm_;
  Activations a_;
};

}  // namespace saccade::models
