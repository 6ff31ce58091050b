#include "ops/elements.h"
#include "ops/embedding/embedding.h"

namespace saccade::ops::detail {

void embedding_cpu(const EmbeddingParams& p) {
  for (std::int64_t row = 0; row < p.rows; ++row) {
    const std::int64_t first = std::int64_t{p.ids[row]} * p.dim;
    for (int i = 0; i < p.dim; ++i) {
      store(p.out, p.out_type, row * p.dim + i, p.scale * load(p.table, p.table_type, first + i));
    }
  }
}

}  // namespace saccade::ops::detail
