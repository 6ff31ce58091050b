#pragma once

#include "saccade/tensor.h"

namespace saccade::ops::detail {

struct PatchEmbeddingParams {
  const float* pixels;
  const void* weight;
  const float* bias;
  const float* position;
  void* patches;
  void* out;
  int views;
  int size;   // of a view, in pixels
  int patch;  // in pixels
  int dim;
  DType weight_type;
  DType out_type;
};

void patch_embedding_cpu(const PatchEmbeddingParams&);

}  // namespace saccade::ops::detail
