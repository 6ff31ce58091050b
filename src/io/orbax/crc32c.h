#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace saccade::io::orbax {

/// CRC-32 with the Castagnoli polynomial, as OCDBT files carry it.
std::uint32_t crc32c(std::span<const std::byte> bytes);

}  // namespace saccade::io::orbax
