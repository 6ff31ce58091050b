#pragma once

#include "saccade/ops/quantize.h"
#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// What an RMSNorm needs of the rows that an op stores, so that nothing reads them again:
///
///   scaled[r, :]        = out[r, :] * scale
///   sum(squares[r, :])  = |out[r, :]|^2
///
/// With x = scaled, norm(out) W^T is the product x W^T with rows times 1 / rms (RowNorm).
struct NormOutputs {
  Tensor scale = {};    // [n] f32
  Tensor scaled = {};   // [m, n] f32, bf16 or f16; given together with scale and squares, or none
  Tensor squares = {};  // [m, parts] f32, parts at least n / 64, rounded up; which columns make a
                        // part is the implementation's
};

/// The rows of x are those of an RMSNorm without its division:
/// row r counts times 1 / sqrt(sum(squares[r, :]) / k + eps).
struct RowNorm {
  Tensor squares = {};  // [m, parts] f32, from NormOutputs
  float eps = 0;
};

/// out[r, :] = (x[r, :] - mean(x[r, :])) / sqrt(var(x[r, :]) + eps) * weight + bias
///
///   x, out        [rows, dim]  f32, bf16 or f16, each of its own; out may be x
///   weight, bias  [dim]        f32
///
/// Mean and (biased) variance in f32, in two passes.
void layer_norm(const Stream&, Tensor x, Tensor weight, Tensor bias, float eps, Tensor out);

/// out[r, :] = x[r, :] / rms(x[r, :]) * weight + shift,  rms(v) = sqrt(mean(v^2) + eps)
///
///   x       [rows, dim]  f32, bf16 or f16
///   out     [rows, dim]  f32, bf16 or f16, which may be x; or e4m3 with scales [1, rows], as
///                        ops::quantize gives them
///   weight  [dim]        f32; Gemma's (1 + w) is folded at load time
///   shift   [dim]        f32; may be absent. adaRMS has one, and takes both from a condition.
///
/// Sums in f32.
/// Overlap: reads weight before the previous kernel has finished.
void rms_norm(const Stream&, Tensor x, Tensor weight, Tensor shift, float eps,
              const ScaledMatrix& out);

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
