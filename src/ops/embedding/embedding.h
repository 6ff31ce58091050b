#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops::detail {

struct EmbeddingParams {
  const std::int32_t* ids;
  const void* table;
  void* out;
  int rows;
  int dim;
  float scale;
  DType table_type;
  DType out_type;

  const float* next_scale;  // null: nothing for a norm
  void* scaled;
  DType scaled_type;
  float* squares;  // [rows, squares_parts]
  int squares_parts;
};

void embedding_cpu(const EmbeddingParams&);
void embedding_cuda(const EmbeddingParams&, CUstream_st*);

}  // namespace saccade::ops::detail
