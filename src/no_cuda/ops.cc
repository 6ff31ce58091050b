// What stands in for the kernels in a build without CUDA, so that no caller has an #if. No stream
// of such a build runs on CUDA, so none of these is ever called.

#include "core/check.h"
#include "ops/activation/activation.h"
#include "ops/attention/attention.h"
#include "ops/embedding/embedding.h"
#include "ops/flow/euler_step.h"
#include "ops/gemm/gemm.h"
#include "ops/image/patch_embedding.h"
#include "ops/image/resize_with_pad.h"
#include "ops/norm/feature_scaling.h"
#include "ops/norm/layer_norm.h"
#include "ops/norm/rms_norm.h"
#include "ops/quantize/quantize.h"
#include "ops/rope/rope.h"
#include "ops/sample/normal_noise.h"

namespace saccade::ops::detail {
namespace {

[[noreturn]] void no_cuda() { fail("cuda", "this build has no CUDA"); }

}  // namespace

bool attention_mma_takes(const AttentionParams&) { return false; }
bool attention_multi_query_takes(const AttentionParams&) { return false; }
bool attention_split_takes(const AttentionParams&) { return false; }
bool gemm_mma_takes(const GemmParams&) { return false; }
bool gemm_skinny_takes(const GemmParams&) { return false; }
bool gemm_sm90_takes(const GemmParams&) { return false; }
bool gemm_thin_takes(const GemmParams&) { return false; }
bool project_qkv_skinny_takes(const QkvParams&) { return false; }
bool project_qkv_sm90_takes(const QkvParams&) { return false; }

void attention_mma(const AttentionParams&, CUstream_st*) { no_cuda(); }
void attention_multi_query(const AttentionParams&, CUstream_st*) { no_cuda(); }
void attention_simple(const AttentionParams&, CUstream_st*) { no_cuda(); }
void attention_split(const AttentionParams&, CUstream_st*) { no_cuda(); }
void denormalize_cuda(const FeatureScalingParams&, CUstream_st*) { no_cuda(); }
void embedding_cuda(const EmbeddingParams&, CUstream_st*) { no_cuda(); }
void euler_step_cuda(const EulerStepParams&, CUstream_st*) { no_cuda(); }
void extract_patches_cuda(const PatchEmbeddingParams&, CUstream_st*) { no_cuda(); }
void gelu_cuda(const ActivationParams&, CUstream_st*) { no_cuda(); }
void gemm_mma(const GemmParams&, CUstream_st*) { no_cuda(); }
void gemm_simple(const GemmParams&, CUstream_st*) { no_cuda(); }
void gemm_skinny(const GemmParams&, CUstream_st*) { no_cuda(); }
void gemm_sm90(const GemmParams&, CUstream_st*) { no_cuda(); }
void gemm_thin(const GemmParams&, CUstream_st*) { no_cuda(); }
void layer_norm_cuda(const LayerNormParams&, CUstream_st*) { no_cuda(); }
void normal_noise_cuda(const NormalNoiseParams&, CUstream_st*) { no_cuda(); }
void normalize_cuda(const FeatureScalingParams&, CUstream_st*) { no_cuda(); }
void project_qkv_skinny(const QkvParams&, CUstream_st*) { no_cuda(); }
void project_qkv_sm90(const QkvParams&, CUstream_st*) { no_cuda(); }
void quantize_cuda(const QuantizeParams&, CUstream_st*) { no_cuda(); }
void resize_with_pad_cuda(const ResizeWithPadParams&, CUstream_st*) { no_cuda(); }
void resize_views_cuda(const ResizeWithPadParams*, int, int, CUstream_st*) { no_cuda(); }
void rms_norm_cuda(const RmsNormParams&, CUstream_st*) { no_cuda(); }
void rope_cuda(const RopeParams&, CUstream_st*) { no_cuda(); }
void silu_cuda(const ActivationParams&, CUstream_st*) { no_cuda(); }

}  // namespace saccade::ops::detail
