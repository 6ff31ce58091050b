#include <algorithm>

#include "ops/elements.h"
#include "ops/image/patch_embedding.h"

namespace saccade::ops::detail {

void extract_patches_cpu(const PatchEmbeddingParams& p) {
  const int side = p.size / p.patch;
  const std::int64_t positions = std::int64_t(side) * side * p.dim;
  std::int64_t index = 0;
  for (int view = 0; view < p.views; ++view) {
    std::copy_n(p.position, positions, p.out + view * positions);
    for (int token = 0; token < side * side; ++token) {
      const int top = token / side * p.patch;
      const int left = token % side * p.patch;
      for (int channel = 0; channel < 3; ++channel) {
        for (int y = top; y < top + p.patch; ++y) {
          const std::int64_t row = (std::int64_t(view) * 3 + channel) * p.size + y;
          for (int x = left; x < left + p.patch; ++x) {
            store(p.patches, p.patches_type, index++, p.pixels[row * p.size + x]);
          }
        }
      }
      for (int i = 3 * p.patch * p.patch; i < p.k; ++i)
        store(p.patches, p.patches_type, index++, 0);
    }
  }
}

}  // namespace saccade::ops::detail
