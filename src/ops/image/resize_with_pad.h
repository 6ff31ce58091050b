#pragma once

#include <cstdint>

#include "saccade/ops/image.h"

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
  ResizeFilter filter;
};

void resize_with_pad_cpu(const ResizeWithPadParams&);

}  // namespace saccade::ops::detail
