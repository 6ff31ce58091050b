#include <cstddef>
#include <cstdint>

#include "io/image.h"
#include "saccade/error.h"

// The answer to any bytes is a picture of the size that it says, or InvalidArgument.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const saccade::io::Image image = saccade::io::decode_image({data, size}, "fuzz");
    if (image.pixels.size() != std::size_t(image.height) * std::size_t(image.width) * 3) {
      __builtin_trap();
    }
  } catch (const saccade::InvalidArgument&) {
  }
  return 0;
}
