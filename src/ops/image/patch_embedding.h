#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops::detail {

struct PatchEmbeddingParams {
  const float* pixels;
  const float* position;  // [tokens, dim]
  void* patches;
  float* out;  // [views, tokens, dim]
  int views;
  int size;   // of a view, in pixels
  int patch;  // in pixels
  int dim;
  int k;  // of a row of patches, at least 3 patch patch
  DType patches_type;
};

/// patches[view, token, :] = the token's pixels, channel by channel and row by row, then zeros;
/// out[view, token, :] = position[token, :], so that one product of all views adds to it.
void extract_patches_cpu(const PatchEmbeddingParams&);
void extract_patches_cuda(const PatchEmbeddingParams&, CUstream_st*);

}  // namespace saccade::ops::detail
