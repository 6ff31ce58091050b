#pragma once

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
};

void embedding_cpu(const EmbeddingParams&);

}  // namespace saccade::ops::detail
