#pragma once

#include <vector>

#include "core/arena.h"
#include "models/dims.h"
#include "models/probe.h"
#include "models/weights.h"
#include "saccade/ops/norm.h"
#include "saccade/stream.h"

namespace saccade::models {

/// The SigLIP vision tower and PaliGemma's projector: pixels to prefix tokens. Its activations are
/// f32, or f16, whose rounding error is an eighth of bf16's; the residual stream is f32.
class Siglip {
 public:
  Siglip(const SiglipDims&, int projected_width);

  void declare(WeightList&);

  /// Takes every buffer for up to `views` frames from the arena.
  void allocate(Arena&, int views, DType activations);

  /// Once the weights are loaded.
  void prepare(const Stream&);

  /// out = projector(post_layernorm(encoder(pixels)))
  ///
  ///   pixels  [views, 3, image_size, image_size]  f32 in [-1, 1]
  ///   out     [views tokens, projected_width]             f32
  ///   next    what the norm that follows needs of out
  void run(const Stream&, Tensor pixels, Tensor out, const ops::NormOutputs& next,
           const Probe& = {}) const;

 private:
  struct Layer {
    Tensor norm1_weight, norm1_bias;
    Tensor qkv_weight, qkv_bias;
    Tensor out_weight, out_bias;
    Tensor norm2_weight, norm2_bias;
    Tensor fc1_weight, fc1_bias;
    Tensor fc2_weight, fc2_bias;
  };
  struct Weights {
    Tensor patch_weight, patch_bias, position;
    std::vector<Layer> layers;
    Tensor post_norm_weight, post_norm_bias;
    Tensor projector_weight, projector_bias;
  };
  struct Activations {    // rows = views * tokens
    Tensor patches;       // [views, tokens, 3 patch patch], in 16 bits with zeros up to eights
    Tensor patch_weight;  // the weight as wide as patches, where that is wider
    Tensor unit;          // [columns of patches, 3 patch patch], which widens it
    Tensor x;             // [rows, width]  residual stream, f32
    Tensor y;             // [rows, width]  normed
    Tensor qkv;           // [rows, 3 width]
    Tensor attended;      // [rows, width]
    Tensor hidden;        // [rows, mlp]
  };

  SiglipDims dims_;
  int projected_width_;
  Weights weights_;
  Activations a_;
};

}  // namespace saccade::models
