#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace saccade::server {

/// A JPEG file of 8-bit RGB pixels, [height, width, 3], for people to look at.
std::string encode_jpeg(std::span<const std::uint8_t> pixels, int height, int width);

}  // namespace saccade::server
