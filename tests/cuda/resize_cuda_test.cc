// The resize on the device gives the CPU's bits, for one frame and for several views at once.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "cuda/memory.h"
#include "ops/image/resize_with_pad.h"

namespace saccade::testing {
namespace {

using ops::ResizeFilter;
using ops::detail::ResizeWithPadParams;

constexpr std::size_t kGuard = 64;  // floats behind a picture
constexpr float kMark = 12345;

struct Extents {
  int height;
  int width;
};

std::vector<std::uint8_t> random_frame(const Extents& extents) {
  std::mt19937 random(std::uint32_t(extents.height * 65537 + extents.width));
  std::vector<std::uint8_t> frame(std::size_t(extents.height) * extents.width * 3);
  // Saturated stretches show a filter that overshoots, noise one that is off by a pixel.
  for (std::size_t i = 0; i < frame.size(); ++i) {
    const std::uint32_t value = random();
    frame[i] = i / 97 % 5 == 0 ? std::uint8_t(value >> 31 ? 255 : 0) : std::uint8_t(value >> 24);
  }
  return frame;
}

/// The frame with so many bytes of white between its rows.
std::vector<std::uint8_t> with_gaps(const std::vector<std::uint8_t>& frame, const Extents& extents,
                                    int gap) {
  const std::size_t row = std::size_t(extents.width) * 3;
  const std::size_t stride = row + std::size_t(gap);
  std::vector<std::uint8_t> spread(std::size_t(extents.height) * stride, 255);
  for (std::size_t y = 0; y < std::size_t(extents.height); ++y) {
    std::copy_n(frame.data() + y * row, row, spread.data() + y * stride);
  }
  return spread;
}

std::size_t area_of(int size) { return std::size_t(3) * size * size; }

/// NaN, then a guard, so that what is not written or is written beyond shows.
std::vector<float> poisoned(int size) {
  std::vector<float> out(area_of(size) + kGuard, std::nanf(""));
  std::fill(out.end() - kGuard, out.end(), kMark);
  return out;
}

/// A frame and its picture on the device, and the picture that the CPU makes of it.
class View {
 public:
  View(const Extents& extents, int size, ResizeFilter filter, int gap = 0)
      : extents_(extents), want_(poisoned(size)) {
    const std::vector<std::uint8_t> frame = random_frame(extents);
    const std::vector<std::uint8_t> spread = with_gaps(frame, extents, gap);
    frame_ = std::make_unique<cuda::Buffer>(spread.size());
    frame_->upload(spread.data());
    out_ = std::make_unique<cuda::Buffer>(want_.size() * sizeof(float));
    out_->upload(want_.data());
    params_ = ops::detail::resize_with_pad_params(frame.data(), extents.height, extents.width, size,
                                                  filter, want_.data());
    ops::detail::resize_with_pad_cpu(params_);
    params_.frame = static_cast<const std::uint8_t*>(frame_->data());
    params_.row_stride += gap;
    params_.out = static_cast<float*>(out_->data());
  }

  const ResizeWithPadParams& params() const { return params_; }

  void expect_equal() const {
    SCOPED_TRACE(std::to_string(extents_.height) + " x " + std::to_string(extents_.width) + " -> " +
                 std::to_string(params_.size));
    SACCADE_CUDA_CHECK(cudaDeviceSynchronize());
    std::vector<float> got(want_.size());
    out_->download(got.data());
    std::size_t different = 0, first = 0;
    for (std::size_t i = got.size(); i-- > 0;) {
      if (std::memcmp(&got[i], &want_[i], sizeof(float)) == 0) continue;
      ++different;
      first = i;
    }
    EXPECT_EQ(different, 0u) << "first at " << first << ": " << got[first] << ", want "
                             << want_[first];
  }

 private:
  Extents extents_;
  std::vector<float> want_;
  std::unique_ptr<cuda::Buffer> frame_;
  std::unique_ptr<cuda::Buffer> out_;
  ResizeWithPadParams params_;
};

const Extents kFrames[] = {{1, 1},     {7, 300},    {300, 7},   {224, 224},   {225, 223},
                           {480, 640}, {720, 1280}, {30, 5000}, {1080, 1920}, {2160, 3840}};

class CudaResizeTest : public ::testing::TestWithParam<ResizeFilter> {
 protected:
  void SetUp() override {
    if (!cuda::device_is_there()) GTEST_SKIP() << "needs a GPU";
  }
};

TEST_P(CudaResizeTest, OneFrameHasTheBitsOfTheCpu) {
  const auto check = [&](const Extents& extents, int size) {
    const View view(extents, size, GetParam());
    ops::detail::resize_with_pad_cuda(view.params(), nullptr);
    view.expect_equal();
  };
  for (const Extents& extents : kFrames) check(extents, 224);
  check({3, 5000}, 1700);  // at 224 no row of it would be left
  check({480, 640}, 28);
  check({2160, 3840}, 9);  // more taps than are known at once
  check({53, 53}, 1);
  check({1, 1}, 4);
  check({3, 5}, 7);
}

TEST_P(CudaResizeTest, ViewsHaveTheBitsOfTheCpu) {
  constexpr int kSize = 224;
  std::vector<std::unique_ptr<View>> views;
  std::vector<ResizeWithPadParams> params;
  for (const Extents& extents : kFrames) {
    const int gap = 7 * int(views.size());  // none between the rows of the first
    views.push_back(std::make_unique<View>(extents, kSize, GetParam(), gap));
    params.push_back(views.back()->params());
  }
  const cuda::Buffer on_device(params.size() * sizeof(ResizeWithPadParams));
  on_device.upload(params.data());
  ops::detail::resize_views_cuda(static_cast<const ResizeWithPadParams*>(on_device.data()),
                                 int(params.size()), kSize, nullptr);
  for (const auto& view : views) view->expect_equal();
}

INSTANTIATE_TEST_SUITE_P(Filters, CudaResizeTest,
                         ::testing::Values(ResizeFilter::kAntialias, ResizeFilter::kBilinear),
                         [](const auto& info) {
                           return info.param == ResizeFilter::kAntialias ? "Antialias" : "Bilinear";
                         });

}  // namespace
}  // namespace saccade::testing
