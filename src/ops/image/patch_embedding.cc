#include "ops/image/patch_embedding.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "ops/trace.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/image.h"

namespace saccade::ops {
namespace {

constexpr auto kOp = "patch_embedding";

void check_types(const Tensor& pixels, const Tensor& weight, const Tensor& bias,
                 const Tensor& position, const Tensor& patches, const Tensor& out) {
  detail::check_type(kOp, {"pixels", pixels}, DType::kF32);
  detail::check_floating(kOp, {"weight", weight});
  detail::check_type(kOp, {"bias", bias}, DType::kF32);
  detail::check_type(kOp, {"position", position}, DType::kF32);
  detail::check_type(kOp, {"out", out}, DType::kF32);
  detail::check_floating(kOp, {"patches", patches});
  detail::check_apart(kOp, {"patches", patches}, {"pixels", pixels});
  detail::check_apart(kOp, {"out", out}, {"patches", patches});
  detail::check_apart(kOp, {"out", out}, {"pixels", pixels});
  detail::check_apart(kOp, {"out", out}, {"position", position});
}

/// Of a square grid; 0 where tokens are none.
int side_of(int tokens) {
  int side = 0;
  while (side * side < tokens) ++side;
  return side * side == tokens ? side : 0;
}

}  // namespace

void patch_embedding(const Stream& stream, Tensor pixels, Tensor weight, Tensor bias,
                     Tensor position, Tensor patches, Tensor out) {
  detail::check_given(kOp, stream,
                      {{"pixels", pixels},
                       {"weight", weight},
                       {"bias", bias},
                       {"position", position},
                       {"patches", patches},
                       {"out", out}});
  SACCADE_CHECK(
      pixels.shape.rank() == 4 && pixels.shape[1] == 3 && pixels.shape[2] == pixels.shape[3], kOp,
      "pixels must be [views, 3, size, size], got ", pixels.shape.str());
  SACCADE_CHECK(weight.shape.rank() == 2, kOp, "weight must be [dim, k], got ", weight.shape.str());
  SACCADE_CHECK(position.shape.rank() == 2, kOp, "position must be [tokens, dim], got ",
                position.shape.str());
  const int views = pixels.shape[0];
  const int size = pixels.shape[2];
  const int dim = weight.shape[0];
  const int k = weight.shape[1];
  const int tokens = position.shape[0];
  const int side = side_of(tokens);
  SACCADE_CHECK(side > 0 && size % side == 0, kOp, "the ", tokens,
                " tokens of position must be a square grid over the size, got ", size);
  const int patch = size / side;
  SACCADE_CHECK(k >= 3 * patch * patch, kOp, "weight must have a column for each of the ",
                3 * patch * patch, " numbers of a patch, got ", k);
  detail::check_shape(kOp, {"bias", bias}, {dim});
  detail::check_shape(kOp, {"position", position}, {tokens, dim});
  detail::check_shape(kOp, {"patches", patches}, {views, tokens, k});
  detail::check_shape(kOp, {"out", out}, {views, tokens, dim});
  check_types(pixels, weight, bias, position, patches, out);
  const detail::PatchEmbeddingParams params{.pixels = pixels.as<float>(),
                                            .position = position.as<float>(),
                                            .patches = patches.data,
                                            .out = out.as<float>(),
                                            .views = views,
                                            .size = size,
                                            .patch = patch,
                                            .dim = dim,
                                            .k = k,
                                            .patches_type = patches.dtype};
  if (detail::may_run(stream, "extract_patches", patches)) {
    stream.device == Device::kCpu ? detail::extract_patches_cpu(params)
                                  : detail::extract_patches_cuda(params, stream.handle);
  }
  const Tensor sums = out.reshaped({views * tokens, dim});
  gemm(stream, patches.reshaped({views * tokens, k}), weight, {.bias = bias, .residual = sums},
       sums);
}

}  // namespace saccade::ops
