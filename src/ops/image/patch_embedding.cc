#include "ops/image/patch_embedding.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "saccade/ops/image.h"

namespace saccade::ops {
namespace {

constexpr auto kOp = "patch_embedding";

void check_types(const Tensor& pixels, const Tensor& weight, const Tensor& bias,
                 const Tensor& position, const Tensor& patches, const Tensor& out) {
  detail::check_type(kOp, {"pixels", pixels}, DType::kF32);
  detail::check_f32_or_bf16(kOp, {"weight", weight});
  detail::check_type(kOp, {"bias", bias}, DType::kF32);
  detail::check_type(kOp, {"position", position}, DType::kF32);
  detail::check_f32_or_bf16(kOp, {"out", out});
  detail::check_type(kOp, {"patches", patches}, out.dtype);
  detail::check_apart(kOp, {"patches", patches}, {"pixels", pixels});
  detail::check_apart(kOp, {"out", out}, {"patches", patches});
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
  detail::check_has_kernel(kOp, stream);
  SACCADE_CHECK(
      pixels.shape.rank() == 4 && pixels.shape[1] == 3 && pixels.shape[2] == pixels.shape[3], kOp,
      "pixels must be [views, 3, size, size], got ", pixels.shape.str());
  SACCADE_CHECK(weight.shape.rank() == 4 && weight.shape[1] == 3 && weight.shape[2] > 0 &&
                    weight.shape[2] == weight.shape[3],
                kOp, "weight must be [dim, 3, patch, patch], got ", weight.shape.str());
  const int views = pixels.shape[0];
  const int size = pixels.shape[2];
  const int dim = weight.shape[0];
  const int patch = weight.shape[2];
  SACCADE_CHECK(size % patch == 0, kOp, "size must be a multiple of patch, got ", size, " and ",
                patch);
  const int tokens = (size / patch) * (size / patch);
  detail::check_shape(kOp, {"bias", bias}, {dim});
  detail::check_shape(kOp, {"position", position}, {tokens, dim});
  detail::check_shape(kOp, {"patches", patches}, {views, tokens, 3 * patch * patch});
  detail::check_shape(kOp, {"out", out}, {views, tokens, dim});
  check_types(pixels, weight, bias, position, patches, out);
  detail::patch_embedding_cpu({.pixels = pixels.as<float>(),
                               .weight = weight.data,
                               .bias = bias.as<float>(),
                               .position = position.as<float>(),
                               .patches = patches.data,
                               .out = out.data,
                               .views = views,
                               .size = size,
                               .patch = patch,
                               .dim = dim,
                               .weight_type = weight.dtype,
                               .out_type = out.dtype});
}

}  // namespace saccade::ops
