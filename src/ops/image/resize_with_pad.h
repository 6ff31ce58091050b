#pragma once

#include <cstdint>

#include "saccade/ops/image.h"
#include "saccade/stream.h"

namespace saccade::ops::detail {

struct ResizeWithPadParams {
  const std::uint8_t* frame;
  float* out;
  int height;  // of the frame
  int width;
  int size;
  int resized_height;
  int resized_width;
  int top;  // rows of padding above the resized frame
  int left;
  std::int64_t row_stride;  // bytes from one row of the frame to the next
  ResizeFilter filter;
};

/// The geometry of a resize of a frame without gaps between rows. Fails when a side would vanish.
ResizeWithPadParams resize_with_pad_params(const std::uint8_t* frame, int height, int width,
                                           int size, ResizeFilter, float* out);

void resize_with_pad_cpu(const ResizeWithPadParams&);
void resize_with_pad_cuda(const ResizeWithPadParams&, CUstream_st*);

/// The same for several views whose params lie in device memory, so that frames of other extents
/// need no other launch; `size` is that of every view.
void resize_views_cuda(const ResizeWithPadParams* views_on_device, int views, int size,
                       CUstream_st*);

}  // namespace saccade::ops::detail
