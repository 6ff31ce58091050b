// The reference. Written to be read: no blocking, no vectors, no threads.
//
// Unlike other ops it allocates: PIL's two passes need a picture and two tables between them whose
// extents follow the camera's, which no model knows when it sizes its buffers.

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/image/resize_with_pad.h"

namespace saccade::ops::detail {
namespace {

constexpr int kChannels = 3;

/// What one resized pixel takes from a row or a column of the frame, in PIL's fixed point.
struct Taps {
  static constexpr int kFractionBits = 22;
  int first = 0;
  std::vector<int> weights;
};

/// A triangle as wide as the ratio, and never narrower than two pixels.
std::vector<Taps> triangle_taps(int extent, int resized_extent) {
  const double scale = double(extent) / resized_extent;
  const double support = std::max(scale, 1.0);
  // A product with the reciprocal and a quotient round differently, and PIL multiplies.
  const double steepness = 1.0 / support;
  std::vector<Taps> taps(static_cast<std::size_t>(resized_extent));
  for (int i = 0; i < resized_extent; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(int(center - support + 0.5), 0);
    const int end = std::min(int(center + support + 0.5), extent);
    std::vector<double> weights;
    double sum = 0;
    for (int pixel = first; pixel < end; ++pixel) {
      weights.push_back(std::max(1.0 - std::abs((pixel - center + 0.5) * steepness), 0.0));
      sum += weights.back();
    }
    Taps& tap = taps[static_cast<std::size_t>(i)];
    tap.first = first;
    for (double weight : weights) {
      tap.weights.push_back(int(0.5 + weight / sum * (1 << Taps::kFractionBits)));
    }
  }
  return taps;
}

std::uint8_t filtered(const std::uint8_t* line, std::size_t stride, const Taps& taps) {
  int sum = 1 << (Taps::kFractionBits - 1);
  const std::uint8_t* value = line + std::size_t(taps.first) * stride;
  for (int weight : taps.weights) {
    sum += *value * weight;
    value += stride;
  }
  return std::uint8_t(std::min(sum >> Taps::kFractionBits, 255));
}

using Pixels = std::vector<std::uint8_t>;

Pixels resize_width(const Pixels& in, int height, int width, int resized_width) {
  if (resized_width == width) return in;
  const std::vector<Taps> taps = triangle_taps(width, resized_width);
  Pixels out;
  out.reserve(std::size_t(height) * resized_width * kChannels);
  for (int y = 0; y < height; ++y) {
    const std::uint8_t* row = in.data() + std::size_t(y) * width * kChannels;
    for (const Taps& tap : taps) {
      for (int c = 0; c < kChannels; ++c) out.push_back(filtered(row + c, kChannels, tap));
    }
  }
  return out;
}

Pixels resize_height(const Pixels& in, int height, int width, int resized_height) {
  if (resized_height == height) return in;
  const std::size_t row = std::size_t(width) * kChannels;
  Pixels out;
  out.reserve(row * resized_height);
  for (const Taps& tap : triangle_taps(height, resized_height)) {
    for (std::size_t i = 0; i < row; ++i) out.push_back(filtered(in.data() + i, row, tap));
  }
  return out;
}

/// The place of a resized pixel in the padded picture.
float& out_at(const ResizeWithPadParams& p, int channel, int y, int x) {
  return p.out[(std::size_t(channel) * p.size + p.top + y) * p.size + p.left + x];
}

void resize_antialias(const ResizeWithPadParams& p) {
  Pixels pixels;
  pixels.reserve(std::size_t(p.height) * p.width * kChannels);
  for (int y = 0; y < p.height; ++y) {
    const std::uint8_t* row = p.frame + y * p.row_stride;
    pixels.insert(pixels.end(), row, row + std::ptrdiff_t(p.width) * kChannels);
  }
  pixels = resize_width(pixels, p.height, p.width, p.resized_width);
  pixels = resize_height(pixels, p.height, p.resized_width, p.resized_height);
  const std::uint8_t* value = pixels.data();
  for (int y = 0; y < p.resized_height; ++y) {
    for (int x = 0; x < p.resized_width; ++x) {
      for (int c = 0; c < kChannels; ++c) out_at(p, c, y, x) = *value++ / 255.0f * 2.0f - 1.0f;
    }
  }
}

/// The two pixels that a resized pixel lies between, and its distance from the first.
struct Between {
  int first;
  int second;
  float fraction;
};

Between between(int i, int extent, int resized_extent) {
  const float scale = float(extent) / float(resized_extent);
  const float source = std::max(std::fma(scale, float(i) + 0.5f, -0.5f), 0.0f);
  const int first = std::min(int(source), extent - 1);
  return {first, std::min(first + 1, extent - 1), std::min(source - float(first), 1.0f)};
}

void resize_bilinear(const ResizeWithPadParams& p) {
  for (int y = 0; y < p.resized_height; ++y) {
    const Between row = between(y, p.height, p.resized_height);
    for (int x = 0; x < p.resized_width; ++x) {
      const Between column = between(x, p.width, p.resized_width);
      for (int c = 0; c < kChannels; ++c) {
        const auto value = [&](int from_y, int from_x) {
          return p.frame[from_y * p.row_stride + from_x * kChannels + c] / 255.0f;
        };
        const auto mixed = [&](int from_y) {
          return value(from_y, column.first) * (1.0f - column.fraction) +
                 value(from_y, column.second) * column.fraction;
        };
        const float both =
            mixed(row.first) * (1.0f - row.fraction) + mixed(row.second) * row.fraction;
        out_at(p, c, y, x) = std::clamp(both, 0.0f, 1.0f) * 2.0f - 1.0f;
      }
    }
  }
}

}  // namespace

void resize_with_pad_cpu(const ResizeWithPadParams& p) {
  constexpr float kBlack = -1.0f;
  std::fill_n(p.out, std::size_t(kChannels) * p.size * p.size, kBlack);
  return p.filter == ResizeFilter::kAntialias ? resize_antialias(p) : resize_bilinear(p);
}

}  // namespace saccade::ops::detail
