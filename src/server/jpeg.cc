#include "server/jpeg.h"

#include <jpeglib.h>  // after cstdio, which it takes for granted

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>

namespace saccade::server {
namespace {

constexpr int kQuality = 85;

/// libjpeg's frames carry unwind tables on every platform that this project builds for.
void throw_error(j_common_ptr) { throw std::runtime_error("a picture could not be encoded"); }

}  // namespace

std::string encode_jpeg(std::span<const std::uint8_t> pixels, int height, int width) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = throw_error;
  jpeg_create_compress(&jpeg);
  const std::unique_ptr<jpeg_compress_struct, void (*)(jpeg_compress_struct*)> cleanup(
      &jpeg, [](jpeg_compress_struct* made) { jpeg_destroy_compress(made); });
  unsigned char* file = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &file, &size);
  jpeg.image_width = JDIMENSION(width);
  jpeg.image_height = JDIMENSION(height);
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, kQuality, TRUE);
  jpeg_start_compress(&jpeg, TRUE);
  for (int y = 0; y < height; ++y) {
    auto* row = const_cast<std::uint8_t*>(pixels.data() + std::size_t(y) * width * 3);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  const std::unique_ptr<unsigned char, void (*)(void*)> owned(file, std::free);
  return {reinterpret_cast<const char*>(file), size};
}

}  // namespace saccade::server
