#include "ops/image/resize_with_pad.h"

#include <algorithm>

#include "core/check.h"
#include "ops/dispatch.h"

namespace saccade::ops {

void resize_with_pad(const Stream& stream, Tensor frame, ResizeFilter filter, Tensor out) {
  constexpr auto kOp = "resize_with_pad";
  detail::check_given(kOp, stream, {{"frame", frame}, {"out", out}});
  detail::check_has_kernel(kOp, stream);
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

  const double ratio = std::max(double(width) / size, double(height) / size);
  const int resized_height = int(height / ratio);
  const int resized_width = int(width / ratio);
  SACCADE_CHECK(resized_height > 0 && resized_width > 0, kOp, "a frame of ", height, " x ", width,
                " is too elongated to keep a pixel of its short side at ", size, " x ", size);

  detail::resize_with_pad_cpu({.frame = frame.as<std::uint8_t>(),
                               .out = out.as<float>(),
                               .height = height,
                               .width = width,
                               .size = size,
                               .resized_height = resized_height,
                               .resized_width = resized_width,
                               .top = (size - resized_height) / 2,
                               .left = (size - resized_width) / 2,
                               .filter = filter});
}

}  // namespace saccade::ops
