#include "ops/image/resize_with_pad.h"

#include <algorithm>

#include "core/check.h"
#include "ops/dispatch.h"
#include "ops/trace.h"

namespace saccade::ops {
namespace {

constexpr auto kOp = "resize_with_pad";

}  // namespace

void resize_with_pad(const Stream& stream, Tensor frame, ResizeFilter filter, Tensor out) {
  detail::check_given(kOp, stream, {{"frame", frame}, {"out", out}});
  detail::check_type(kOp, {"frame", frame}, DType::kU8);
  detail::check_type(kOp, {"out", out}, DType::kF32);
  SACCADE_CHECK(frame.shape.rank() == 3 && frame.shape[2] == 3, kOp,
                "frame must be [height, width, 3], got ", frame.shape.str());
  const int height = frame.shape[0];
  const int width = frame.shape[1];
  SACCADE_CHECK(height > 0 && width > 0, kOp, "frame holds no pixels, it is ", frame.shape.str());
  const int size = out.shape.rank() == 3 ? out.shape[1] : 0;
  SACCADE_CHECK(size > 0 && (out.shape == Shape{3, size, size}), kOp,
                "out must be [3, size, size], got ", out.shape.str());
  detail::check_apart(kOp, {"out", out}, {"frame", frame});

  const auto params = detail::resize_with_pad_params(frame.as<std::uint8_t>(), height, width, size,
                                                     filter, out.as<float>());
  if (!detail::may_run(stream, kOp, frame)) return;
  stream.device == Device::kCpu ? detail::resize_with_pad_cpu(params)
                                : detail::resize_with_pad_cuda(params, stream.handle);
}

namespace detail {

ResizeWithPadParams resize_with_pad_params(const std::uint8_t* frame, int height, int width,
                                           int size, ResizeFilter filter, float* out) {
  const double ratio = std::max(double(width) / size, double(height) / size);
  const int resized_height = int(height / ratio);
  const int resized_width = int(width / ratio);
  SACCADE_CHECK(resized_height > 0 && resized_width > 0, kOp, "a frame of ", height, " x ", width,
                " is too elongated to keep a pixel of its short side at ", size, " x ", size);
  return {.frame = frame,
          .out = out,
          .height = height,
          .width = width,
          .size = size,
          .resized_height = resized_height,
          .resized_width = resized_width,
          .top = (size - resized_height) / 2,
          .left = (size - resized_width) / 2,
          .row_stride = 3 * std::int64_t{width},
          .filter = filter};
}

}  // namespace detail
}  // namespace saccade::ops
