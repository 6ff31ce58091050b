#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// out[r, :] = (x[r, :] - mean(x[r, :])) / sqrt(var(x[r, :]) + eps) * weight + bias
///
///   x, out        [rows, dim]  f32 or bf16, each of its own; out may be x
///   weight, bias  [dim]        f32
///
/// Mean and (biased) variance in f32, in two passes.
void layer_norm(const Stream&, Tensor x, Tensor weight, Tensor bias, float eps, Tensor out);

/// out[r, :] = x[r, :] / rms(x[r, :]) * weight,  rms(v) = sqrt(mean(v^2) + eps)
///
///   x, out  [rows, dim]  f32 or bf16, each of its own; out may be x
///   weight  [dim]        f32; Gemma's (1 + w) is folded at load time
///
/// Sums in f32. CUDA: dim is a multiple of 8, at most 4096.
/// Overlap: reads weight before the previous kernel has finished.
void rms_norm(const Stream&, Tensor x, Tensor weight, float eps, Tensor out);

/// out[r, :] = x[r, :] / rms(x[r, :]) * (1 + scale) + shift
///
///   x, out      [rows, dim]  f32 or bf16, each of its own; out may be x
///   modulation  [3, dim]     f32: scale, shift, gate. The gate is not read here: it belongs to
///                            the residual of the branch that follows (GemmEpilogue::gate).
///
/// Sums in f32.
void ada_rms_norm(const Stream&, Tensor x, Tensor modulation, float eps, Tensor out);

/// The affine map of one feature vector: normalised = (raw - center) / range * gain + bias.
struct FeatureScaling {
  Tensor center;  // [dim] f32
  Tensor range;   // [dim] f32
  float gain = 1;
  float bias = 0;
};

/// out[r, i] = (x[r, i] - center[i]) / range[i] * gain + bias
///
///   x, out  [rows, dim]  f32; out may be x
void normalize(const Stream&, Tensor x, const FeatureScaling&, Tensor out);

/// out[r, i] = (x[r, i] - bias) / gain * range[i] + center[i], for the first dim columns of x
///
///   x    [rows, padded_dim]  f32, padded_dim >= dim
///   out  [rows, dim]         f32; may be x when padded_dim is dim
void denormalize(const Stream&, Tensor x, const FeatureScaling&, Tensor out);

}  // namespace saccade::ops
