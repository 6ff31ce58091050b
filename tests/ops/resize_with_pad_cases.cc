#include <algorithm>
#include <cmath>

#include "ops/op_case.h"
#include "saccade/ops/image.h"

namespace saccade::testing {
namespace {

using ops::ResizeFilter;

constexpr int kChannels = 3;

/// What each input of a line contributes to one of its outputs.
using Weights = std::vector<double>;

/// A triangle as wide as the ratio, but never narrower than one pixel: PIL's BILINEAR.
Weights antialias(int in, int out, int index) {
  const double ratio = double(in) / out;
  const double width = std::max(ratio, 1.0);
  const double center = (index + 0.5) * ratio;
  Weights weights(in);
  double sum = 0;
  for (int i = 0; i < in; ++i) {
    weights[i] = std::max(0.0, 1 - std::abs(i + 0.5 - center) / width);
    sum += weights[i];
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

/// The two pixels beside a point, whatever the ratio: torch with align_corners=False.
Weights bilinear(int in, int out, int index) {
  const double point = std::max(0.0, (index + 0.5) * in / out - 0.5);
  const int first = std::min(int(point), in - 1);
  Weights weights(in);
  weights[first] += 1 - (point - first);
  weights[std::min(first + 1, in - 1)] += point - first;
  return weights;
}

Values exact(int height, int width, int size, ResizeFilter filter, const Values& frame) {
  const double ratio = std::max(double(width) / size, double(height) / size);
  const int rows = int(height / ratio);
  const int columns = int(width / ratio);
  const auto weights = filter == ResizeFilter::kAntialias ? antialias : bilinear;
  Values out(std::size_t(kChannels) * size * size, -1.0);
  for (int row = 0; row < rows; ++row) {
    const Weights vertical = weights(height, rows, row);
    for (int column = 0; column < columns; ++column) {
      const Weights horizontal = weights(width, columns, column);
      const int y = (size - rows) / 2 + row;
      const int x = (size - columns) / 2 + column;
      for (int channel = 0; channel < kChannels; ++channel) {
        double value = 0;
        for (int i = 0; i < height; ++i) {
          if (vertical[i] == 0) continue;
          for (int j = 0; j < width; ++j) {
            value += vertical[i] * horizontal[j] * frame[(i * width + j) * kChannels + channel];
          }
        }
        out[(channel * size + y) * size + x] = value / 127.5 - 1;
      }
    }
  }
  return out;
}

void fill_bytes(Tensor frame, std::mt19937& random) {
  for (std::int64_t i = 0; i < frame.shape.size(); ++i) {
    frame.as<std::uint8_t>()[i] = std::uint8_t(random() >> 24);
  }
}

OpCase make(int height, int width, int size, ResizeFilter filter) {
  const bool antialiased = filter == ResizeFilter::kAntialias;
  const double out_bytes = 4.0 * kChannels * size * size;
  return {
      .name = std::string("resize_with_pad/") + (antialiased ? "antialias/" : "bilinear/") +
              extents({height, width, size}),
      .inputs = {{{height, width, kChannels}, DType::kU8, fill_bytes}},
      .outputs = {{{kChannels, size, size}, DType::kF32}},
      .run = [=](const Stream& s, std::span<const Tensor> in,
                 std::span<const Tensor> out) { ops::resize_with_pad(s, in[0], filter, out[0]); },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> {
        return {exact(height, width, size, filter, in[0])};
      },
      // The antialiased filter rounds to 8 bit twice, each by up to half a level of 1/127.5; that
      // it rounds as PIL does is checked to the bit in resize_test.cc. The other one forms the
      // source coordinate in f32, as torch does: scale and product are each off by half an ulp of
      // it.
      .tolerance = antialiased ? 1 / 127.5 : 1e-6 + std::max(height, width) * 0x1p-23,
      .flops = 2.0 * kChannels* height* width,
      .bytes = 1.0 * kChannels* height* width + out_bytes,
  };
}

}  // namespace

std::vector<OpCase> resize_with_pad_cases() {
  std::vector<OpCase> cases;
  for (const ResizeFilter filter : {ResizeFilter::kAntialias, ResizeFilter::kBilinear}) {
    cases.push_back(make(1, 1, 1, filter));
    cases.push_back(make(1, 1, 4, filter));     // one pixel, spread
    cases.push_back(make(3, 5, 7, filter));     // enlarged, odd padding
    cases.push_back(make(9, 4, 6, filter));     // upright
    cases.push_back(make(7, 7, 7, filter));     // untouched
    cases.push_back(make(37, 53, 28, filter));  // ragged ratio
    cases.push_back(make(60, 80, 28, filter));
  }
  return cases;
}

}  // namespace saccade::testing
