#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace saccade::io {

/// A decoded picture: 8-bit RGB, [height, width, 3].
struct Image {
  int height = 0;
  int width = 0;
  std::vector<std::uint8_t> pixels;
};

/// Decodes a JPEG or PNG by its first bytes. Takes 8-bit RGB only (JPEG: three components; PNG:
/// RGB or palette without transparency) and fails with one sentence on anything else. Warnings of
/// libjpeg count as damage. At most 16384 pixels a side and 2^26 in all. JPEG pixels equal PIL's.
Image decode_image(std::span<const std::uint8_t> file, std::string_view name);
Image read_image(const std::filesystem::path&);

}  // namespace saccade::io
