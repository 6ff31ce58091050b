#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "crc32.h"
#include "ops/image/resize_with_pad.h"
#include "saccade/error.h"
#include "saccade/ops/image.h"

namespace saccade::testing {
namespace {

using Pixels = std::vector<std::uint8_t>;

/// One line of resize.txt (tools/make_perception_goldens.py).
struct ResizeGolden {
  std::string kind;
  std::uint32_t seed = 0;
  int height = 0;
  int width = 0;
  int size = 0;
  std::uint32_t frame_crc = 0;
  std::uint32_t antialias_crc = 0;
  std::size_t stride = 0;
};

std::vector<ResizeGolden> goldens() {
  std::ifstream stream(SACCADE_GOLDEN "/perception/resize.txt");
  std::vector<ResizeGolden> all;
  ResizeGolden g;
  while (stream >> g.kind >> g.seed >> g.height >> g.width >> g.size >> g.frame_crc >>
         g.antialias_crc >> g.stride) {
    all.push_back(g);
  }
  return all;
}

/// The same integers as the goldens' tool makes.
std::uint8_t value_at(const ResizeGolden& g, std::uint32_t index) {
  const std::uint32_t width = std::uint32_t(g.width);
  if (g.kind == "noise") {
    std::uint32_t value = (index + g.seed) * 2654435761u;
    value = (value ^ value >> 15) * 2246822519u;
    return std::uint8_t((value ^ value >> 13) >> 24);
  }
  if (g.kind == "gradient") {
    return std::uint8_t(index * 255u / (width * std::uint32_t(g.height) * 3u));
  }
  const std::uint32_t pixel = index / 3;
  return (pixel % width + pixel / width) % 2 * 255;
}

Pixels make_frame(const ResizeGolden& g) {
  Pixels frame(std::size_t(g.height) * g.width * 3);
  for (std::size_t i = 0; i < frame.size(); ++i) frame[i] = value_at(g, std::uint32_t(i));
  return frame;
}

/// Starts as NaN and ends in a guard, so that what is not written or is written beyond shows.
std::vector<float> resize(Pixels& frame, int height, int width, ops::ResizeFilter filter,
                          int size) {
  constexpr std::size_t kGuard = 64;
  constexpr float kMark = 12345;
  const std::size_t count = std::size_t(3) * size * size;
  std::vector<float> out(count + kGuard, kMark);
  std::fill_n(out.begin(), count, std::nanf(""));
  const Pixels before = frame;
  ops::resize_with_pad({}, {frame.data(), {height, width, 3}, DType::kU8, Device::kCpu}, filter,
                       {out.data(), {3, size, size}, DType::kF32, Device::kCpu});
  EXPECT_EQ(frame, before);
  for (std::size_t i = count; i < out.size(); ++i) EXPECT_EQ(out[i], kMark);
  out.resize(count);
  return out;
}

std::string trace(const ResizeGolden& g) {
  return g.kind + " " + std::to_string(g.height) + " x " + std::to_string(g.width) + " -> " +
         std::to_string(g.size);
}

TEST(ResizeWithPad, AntialiasIsBitEqualToPil) {
  const std::vector<ResizeGolden> all = goldens();
  ASSERT_EQ(all.size(), 21u);
  for (const ResizeGolden& g : all) {
    SCOPED_TRACE(trace(g));
    Pixels frame = make_frame(g);
    ASSERT_EQ(crc32(frame), g.frame_crc);
    const std::vector<float> out =
        resize(frame, g.height, g.width, ops::ResizeFilter::kAntialias, g.size);
    const std::size_t area = std::size_t(g.size) * g.size;
    Pixels bytes(out.size());
    int inexact = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const auto byte = std::uint8_t(std::lround((out[i] + 1) * 127.5f));
      inexact += out[i] != byte / 255.0f * 2.0f - 1.0f;
      bytes[i % area * 3 + i / area] = byte;
    }
    EXPECT_EQ(inexact, 0);
    EXPECT_EQ(crc32(bytes), g.antialias_crc);
  }
}

TEST(ResizeWithPad, BilinearEqualsLeRobot) {
  std::ifstream stream(SACCADE_GOLDEN "/perception/resize_bilinear.f32", std::ios::binary);
  for (const ResizeGolden& g : goldens()) {
    SCOPED_TRACE(trace(g));
    Pixels frame = make_frame(g);
    const std::vector<float> out =
        resize(frame, g.height, g.width, ops::ResizeFilter::kBilinear, g.size);
    float largest = 0;
    for (std::size_t i = 0; i < out.size(); i += g.stride) {
      char bytes[sizeof(float)];
      ASSERT_TRUE(stream.read(bytes, sizeof bytes));
      float want;
      std::memcpy(&want, bytes, sizeof want);
      largest = std::max(largest, std::isnan(out[i]) ? 2 : std::abs(out[i] - want));
    }
    EXPECT_LT(largest, 1e-6f);
  }
  EXPECT_EQ(stream.peek(), EOF);
}

TEST(ResizeWithPad, RowsMayHaveGaps) {
  constexpr int kSize = 20;
  for (const ops::ResizeFilter filter :
       {ops::ResizeFilter::kAntialias, ops::ResizeFilter::kBilinear}) {
    for (const auto& [height, width] : {std::pair{31, 47}, {20, 20}, {47, 9}}) {
      Pixels frame = make_frame({.kind = "noise", .seed = 3, .height = height, .width = width});
      const std::vector<float> want = resize(frame, height, width, filter, kSize);
      const std::size_t row = std::size_t(width) * 3;
      const std::size_t stride = row + 5;
      // Ends with the last pixel: a read of a gap behind it is found by AddressSanitizer.
      Pixels gaps(std::size_t(height - 1) * stride + row, 255);
      for (std::size_t y = 0; y < std::size_t(height); ++y) {
        std::copy_n(frame.data() + y * row, row, gaps.data() + y * stride);
      }
      std::vector<float> out(want.size());
      auto params = ops::detail::resize_with_pad_params(gaps.data(), height, width, kSize, filter,
                                                        out.data());
      params.row_stride = std::int64_t(stride);
      ops::detail::resize_with_pad_cpu(params);
      EXPECT_EQ(out, want) << height << " x " << width;
    }
  }
}

std::string error_of(Tensor frame, Tensor out) {
  try {
    ops::resize_with_pad({}, frame, ops::ResizeFilter::kAntialias, out);
    return "";
  } catch (const InvalidArgument& e) {
    return e.what();
  }
}

TEST(ResizeWithPad, NamesTheOperandThatIsWrong) {
  std::vector<std::uint8_t> pixels(3000);
  std::vector<float> values(3 * 28 * 28);
  const auto frame = [&](Shape shape, DType type = DType::kU8) {
    return Tensor{pixels.data(), shape, type, Device::kCpu};
  };
  const Tensor out{values.data(), {3, 28, 28}, DType::kF32, Device::kCpu};
  EXPECT_EQ(error_of(frame({1, 500, 3}), out),
            "[resize_with_pad] a frame of 1 x 500 is too elongated to keep a pixel of its short "
            "side at 28 x 28");
  EXPECT_NE(error_of(frame({1000, 1, 3}), out), "");
  EXPECT_EQ(error_of(frame({4, 4, 4}), out),
            "[resize_with_pad] frame must be [height, width, 3], got [4, 4, 4]");
  EXPECT_EQ(error_of(frame({4, 4, 3}, DType::kF32), out),
            "[resize_with_pad] frame must be u8, got f32");
  EXPECT_EQ(error_of(frame({0, 4, 3}), out),
            "[resize_with_pad] frame holds no pixels, it is [0, 4, 3]");
  EXPECT_EQ(error_of({nullptr, {4, 4, 3}, DType::kU8, Device::kCpu}, out),
            "[resize_with_pad] frame is not given");
  EXPECT_EQ(error_of(frame({4, 4, 3}), out.reshaped({28, 28, 3})),
            "[resize_with_pad] out must be [3, size, size], got [28, 28, 3]");
  EXPECT_EQ(error_of({values.data(), {4, 4, 3}, DType::kU8, Device::kCpu}, out),
            "[resize_with_pad] out must not overlap frame");
}

}  // namespace
}  // namespace saccade::testing
