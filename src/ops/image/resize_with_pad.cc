#include "ops/image/resize_with_pad.h"

#include <algorithm>

#include "core/check.h"

namespace saccade::ops {

void resize_with_pad(const Stream& stream, Tensor frame, ResizeFilter filter, Tensor out) {
  constexpr auto kOp = "resize_with_pad";
  SACCADE_CHECK(frame.dtype == DType::kU8 && frame.shape.rank() == 3 && frame.shape[2] == 3, kOp,
                "frame must be u8 [height, width, 3], got ", name_of(frame.dtype), " ",
                frame.shape.str());
  const int height = frame.shape[0];
  const int width = frame.shape[1];
  SACCADE_CHECK(height > 0 && width > 0, kOp, "frame holds no pixels: it is ", frame.shape.str());
  SACCADE_CHECK(frame, kOp, "frame has no data");
  const int size = out.shape.rank() == 3 ? out.shape[1] : 0;
  SACCADE_CHECK(out && out.dtype == DType::kF32 && size > 0 && (out.shape == Shape{3, size, size}),
                kOp, "out must be f32 [3, size, size], got ", name_of(out.dtype), " ",
                out.shape.str());

  const double ratio = std::max(double(width) / size, double(height) / size);
  const int resized_height = int(height / ratio);
  const int resized_width = int(width / ratio);
  SACCADE_CHECK(resized_height > 0 && resized_width > 0, kOp, "a frame of ", height, " x ", width,
                " is too elongated to keep a pixel of its short side at ", size, " x ", size);

  const detail::ResizeWithPadParams params{frame.as<std::uint8_t>(),
                                           out.as<float>(),
                                           height,
                                           width,
                                           size,
                                           resized_height,
                                           resized_width,
                                           (size - resized_height) / 2,
                                           (size - resized_width) / 2,
                                           filter};
  if (stream.device == Device::kCpu) return detail::resize_with_pad_cpu(params);
  fail(kOp, "there is no CUDA implementation");
}

}  // namespace saccade::ops
