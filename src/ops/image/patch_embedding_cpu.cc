// Gathers the patches; the rest is a gemm whose residual is the position.

#include "ops/elements.h"
#include "ops/gemm/gemm.h"
#include "ops/image/patch_embedding.h"

namespace saccade::ops::detail {
namespace {

/// patches[view, token, :] = the token's pixels, channel by channel and row by row.
void gather_patches(const PatchEmbeddingParams& p) {
  const int side = p.size / p.patch;
  std::int64_t index = 0;
  for (int view = 0; view < p.views; ++view) {
    for (int token = 0; token < side * side; ++token) {
      const int top = token / side * p.patch;
      const int left = token % side * p.patch;
      for (int channel = 0; channel < 3; ++channel) {
        for (int y = top; y < top + p.patch; ++y) {
          const std::int64_t row = (std::int64_t(view) * 3 + channel) * p.size + y;
          for (int x = left; x < left + p.patch; ++x) {
            store(p.patches, p.out_type, index++, p.pixels[row * p.size + x]);
          }
        }
      }
    }
  }
}

}  // namespace

void patch_embedding_cpu(const PatchEmbeddingParams& p) {
  gather_patches(p);
  const int side = p.size / p.patch;
  const int tokens = side * side;
  const int patch_size = 3 * p.patch * p.patch;
  const std::size_t element = size_of(p.out_type);
  for (std::size_t view = 0; view < std::size_t(p.views); ++view) {
    gemm_blas({.x = static_cast<const std::byte*>(p.patches) + view * tokens * patch_size * element,
               .weight = p.weight,
               .bias = p.bias,
               .gate = nullptr,
               .residual = p.position,
               .out = static_cast<std::byte*>(p.out) + view * tokens * p.dim * element,
               .m = tokens,
               .n = p.dim,
               .k = patch_size,
               .activation = Activation::kNone,
               .x_type = p.out_type,
               .weight_type = p.weight_type,
               .residual_type = DType::kF32,
               .out_type = p.out_type});
  }
}

}  // namespace saccade::ops::detail
