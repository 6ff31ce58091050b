#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

enum class ResizeFilter : std::uint8_t {
  kAntialias,  // PIL's BILINEAR: triangle filter as wide as the ratio, two passes rounded to 8 bit
  kBilinear,   // torch's interpolate(mode="bilinear", align_corners=False): no antialiasing
};

/// Resizes a camera frame into a square, keeping its aspect, centred on black, and maps
/// [0, 255] to [-1, 1].
///
///   frame  [height, width, 3]  u8, RGB; both extents at least 1
///   out    [3, size, size]     f32; black padding is -1
///
/// The resized extents are int(height / ratio) and int(width / ratio), in double, with
/// ratio = max(width / size, height / size); both must be at least 1. The odd row or column of
/// padding goes to the bottom or the right. kAntialias is bit-equal to PIL before the map to
/// [-1, 1], and leaves a frame of the wanted size untouched; it filters rows before columns, as
/// Pillow does up to 12, whereas Pillow 13 turns that round for frames more than twice as high as
/// wide. kBilinear is within 1e-6 of torch.
void resize_with_pad(const Stream&, Tensor frame, ResizeFilter, Tensor out);

/// out[v, t, :] = weight . patch(pixels[v], t) + bias + position[t, :]
///
///   pixels    [views, 3, size, size]     f32
///   weight    [dim, k]                   f32, bf16 or f16; a row is a patch of 3 patch patch
///                                        numbers, channel by channel, and zeros
///   bias      [dim]                      f32
///   position  [tokens, dim]              f32; tokens = (size / patch)^2, in raster order
///   patches   [views, tokens, k]         f32, bf16 or f16: scratch
///   out       [views, tokens, dim]       f32
///
/// patch = size / sqrt(tokens); k may be larger than a patch, for products that want multiples.
/// Sums in f32.
void patch_embedding(const Stream&, Tensor pixels, Tensor weight, Tensor bias, Tensor position,
                     Tensor patches, Tensor out);

}  // namespace saccade::ops
