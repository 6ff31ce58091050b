/*
 * The ops of Saccade on tensors of the caller: what a policy is made of, one at a time.
 *
 * Status, sentences, strings and threads are those of saccade.h. Every op checks its arguments, and
 * its sentence names the one that is wrong: "[rms_norm] weight must be [4], got [3]".
 *
 * Where an op runs follows from its first tensor; all others are in the same memory.
 *
 * In host memory, the reference runs, and has finished when the function returns; `stream` is NULL.
 *
 * In device memory, kernels are enqueued on `stream` (a cudaStream_t; NULL: the legacy default
 * stream), and the function returns at once. They start behind all that the stream holds, and what
 * is enqueued there later sees their results. The tensors are in memory of the current device and
 * stay until the stream has passed; each begins at a multiple of 16 bytes. Nothing is allocated and
 * nothing waits, so the stream may be one that is being captured.
 *
 * Unless an op says otherwise, an output must not overlap another operand, and "floating" is f32,
 * bf16 or f16. Extents, types and precision are those of the C++ headers, saccade/ops/<family>.h.
 * Every function here may be called from any thread.
 */
#ifndef SACCADE_OPS_H_
#define SACCADE_OPS_H_

#include "saccade.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Types of elements. */
enum {
  SACCADE_F32 = 1,
  SACCADE_BF16 = 2,
  SACCADE_F16 = 3,
  SACCADE_U8 = 4,
  SACCADE_I32 = 5,
  SACCADE_E4M3 = 6 /* eight bits: sign, four of exponent, three of mantissa; no infinity */
};

/* A window onto memory of the caller: elements row by row, without gaps. Where an op takes an
 * operand that may be absent, NULL in place of the tensor says so. */
typedef struct saccade_tensor {
  void* data;
  int32_t dtype;    /* SACCADE_F32 ... */
  int32_t memory;   /* SACCADE_HOST_MEMORY or SACCADE_DEVICE_MEMORY */
  int32_t rank;     /* 1 to 4 */
  int32_t reserved; /* 0 */
  int64_t shape[4]; /* outermost first, each at least 1; at most 2^31 - 1 elements in all */
} saccade_tensor;

/* out[r, :] = x[r, :] / rms(x[r, :]) * weight + shift,  rms(v) = sqrt(mean(v^2) + eps)
 *
 *   x, out  [rows, dim]  floating, each of its own type; out may be x
 *   weight  [dim]        f32
 *   shift   [dim]        f32; may be absent
 *
 * Sums in f32. */
SACCADE_API saccade_status saccade_ops_rms_norm(const saccade_tensor* x,
                                                const saccade_tensor* weight,
                                                const saccade_tensor* shift, float eps,
                                                const saccade_tensor* out, void* stream);

/* out[r, :] = (x[r, :] - mean(x[r, :])) / sqrt(var(x[r, :]) + eps) * weight + bias
 *
 *   x, out        [rows, dim]  floating, each of its own type; out may be x
 *   weight, bias  [dim]        f32
 *
 * Mean and (biased) variance in f32, in two passes. */
SACCADE_API saccade_status saccade_ops_layer_norm(const saccade_tensor* x,
                                                  const saccade_tensor* weight,
                                                  const saccade_tensor* bias, float eps,
                                                  const saccade_tensor* out, void* stream);

/* What follows a product. */
enum {
  SACCADE_ACTIVATION_NONE = 0,
  SACCADE_ACTIVATION_GELU = 1, /* 0.5 v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3))) */
  SACCADE_ACTIVATION_SILU = 2, /* v / (1 + exp(-v)) */
  SACCADE_ACTIVATION_GEGLU = 3 /* gelu(first half of the columns) * second half */
};

/* out = activation(x weight^T + bias)
 *
 *   x              [m, k]  floating, or e4m3
 *   x_scales       [1, m] or [ceil(k / 128), m]  f32: of x in e4m3, as saccade_ops_quantize gives
 *                                                them; else absent
 *   weight         [n, k]  floating, or e4m3, as PyTorch's Linear stores it; [2n, k] for GEGLU: n
 *                          gate rows, then n up rows
 *   weight_scales  [1, n]  f32: of weight in e4m3; else absent; [1, 2n] for GEGLU
 *   bias           [n]     f32; may be absent; [2n] for GEGLU
 *   out            [m, n]  floating
 *
 * Any mix of types. Sums and activation in f32, one rounding at the store. On Hopper, the tensor
 * cores add up products of two e4m3 with about 14 bits; and for GEGLU of at most 64 rows of bf16,
 * or of f16 beside a weight in e4m3, parts of the sums are rounded to f16 on their way to an out of
 * the same type (docs/numerics.md). */
SACCADE_API saccade_status saccade_ops_linear(const saccade_tensor* x,
                                              const saccade_tensor* x_scales,
                                              const saccade_tensor* weight,
                                              const saccade_tensor* weight_scales,
                                              const saccade_tensor* bias, int32_t activation,
                                              const saccade_tensor* out, void* stream);

/* out_scales[b, r] = max |x[r, block b]| / 448, or 1 where that is less than 2^-126
 * out[r, i] = x[r, i] / out_scales[block of i, r]
 *
 *   x           [rows, columns]              floating
 *   out         [rows, columns]              e4m3
 *   out_scales  [1, rows]                    f32: one scale for a row
 *               [ceil(columns / 128), rows]  f32: one for each 128 neighbours of a row
 *
 * Rounds to nearest even; 448 is the largest e4m3. */
SACCADE_API saccade_status saccade_ops_quantize(const saccade_tensor* x, const saccade_tensor* out,
                                                const saccade_tensor* out_scales, void* stream);

/* table[p, i] = cos(p f_i), table[p, head_dim/2 + i] = sin(p f_i),  f_i = base^(-2 i / head_dim)
 *
 *   table  [positions, head_dim]  f32, in host memory; head_dim is even */
SACCADE_API saccade_status saccade_ops_rope_table(float base, const saccade_tensor* table);

/* Splits each row of a merged projection into heads, and rotates queries and keys by position:
 *
 *   y[i]                = x[i] cos - x[i + head_dim/2] sin
 *   y[i + head_dim/2]   = x[i + head_dim/2] cos + x[i] sin
 *
 *   qkv        [rows, (heads + 2 kv_heads) head_dim]  floating: queries, keys, values
 *   positions  [rows]                                 i32, each below the rows of table and of k
 *   table      [positions, head_dim]                  f32, from saccade_ops_rope_table
 *   q          [rows, heads, head_dim]                qkv's type; may be absent
 *   k, v       [cache rows, kv_heads, head_dim]       qkv's type: row r of qkv goes to row
 *                                                     positions[r], others stay as they are; v is
 *                                                     not rotated
 *
 * Rotates in f32, rounds once. Positions in device memory are not checked. */
SACCADE_API saccade_status saccade_ops_rope(const saccade_tensor* qkv,
                                            const saccade_tensor* positions,
                                            const saccade_tensor* table, const saccade_tensor* q,
                                            const saccade_tensor* k, const saccade_tensor* v,
                                            void* stream);

/* out[r, h, :] = sum_j softmax_j(scale q[r, h, :] . k[j, g, :]) v[j, g, :],  j < visible[r]
 *
 * Query head h reads kv head g = h / (heads / kv_heads): multi-query attention where kv_heads is 1.
 *
 *   q        [rows, heads, head_dim]        floating
 *   k, v     [kv_rows, kv_heads, head_dim]  q's type; heads is a multiple of kv_heads
 *   visible  [rows]                         i32 from 1 to kv_rows; absent: every row sees all
 *   out      [rows, heads head_dim]         floating
 *
 * Logits, softmax and sums in f32; the softmax's weights may be rounded to the type of q. `visible`
 * in device memory is not checked. */
SACCADE_API saccade_status saccade_ops_attention(const saccade_tensor* q, const saccade_tensor* k,
                                                 const saccade_tensor* v,
                                                 const saccade_tensor* visible, float scale,
                                                 const saccade_tensor* out, void* stream);

/* The same for independent sequences, from a merged projection; every row sees its sequence.
 *
 *   qkv  [batch, rows, 3 heads head_dim]  floating: all queries, all keys, all values
 *   out  [batch, rows, heads head_dim]    qkv's type */
SACCADE_API saccade_status saccade_ops_attention_packed(const saccade_tensor* qkv, int32_t heads,
                                                        float scale, const saccade_tensor* out,
                                                        void* stream);

enum {
  SACCADE_FILTER_ANTIALIAS = 0, /* PIL's BILINEAR, to the bit */
  SACCADE_FILTER_BILINEAR = 1   /* torch's interpolate(mode="bilinear", align_corners=False) */
};

/* Resizes a camera frame into a square, keeping its aspect, centred on black, and maps [0, 255] to
 * [-1, 1].
 *
 *   frame  [height, width, 3]  u8, RGB
 *   out    [3, size, size]     f32; padding is -1 */
SACCADE_API saccade_status saccade_ops_resize_with_pad(const saccade_tensor* frame, int32_t filter,
                                                       const saccade_tensor* out, void* stream);

#ifdef __cplusplus
}
#endif

#endif /* SACCADE_OPS_H_ */
