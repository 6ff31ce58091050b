#include <algorithm>

#include "ops/elements.h"
#include "ops/embedding/embedding.h"

namespace saccade::ops::detail {

void embedding_cpu(const EmbeddingParams& p) {
  for (std::int64_t row = 0; row < p.rows; ++row) {
    const std::int64_t first = std::int64_t{p.ids[row]} * p.dim;
    float squares = 0;
    for (int i = 0; i < p.dim; ++i) {
      const float value = p.scale * load(p.table, p.table_type, first + i);
      store(p.out, p.out_type, row * p.dim + i, value);
      if (p.scaled) store(p.scaled, p.scaled_type, row * p.dim + i, value * p.next_scale[i]);
      squares += value * value;
    }
    if (!p.squares) continue;
    std::fill_n(p.squares + row * p.squares_parts, p.squares_parts, 0.0f);
    p.squares[row * p.squares_parts] = squares;
  }
}

}  // namespace saccade::ops::detail
