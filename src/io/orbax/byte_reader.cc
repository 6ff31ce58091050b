#include "io/orbax/byte_reader.h"

#include "core/check.h"

namespace saccade::io::orbax {
namespace {

constexpr auto kOp = "orbax";

std::uint64_t little_endian(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) {
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  }
  return value;
}

}  // namespace

std::span<const std::byte> ByteReader::take(std::uint64_t count) {
  SACCADE_CHECK(count <= rest_.size(), kOp, where_, " is truncated: ", count,
                " more bytes must follow, ", rest_.size(), " do");
  const auto front = rest_.first(count);
  rest_ = rest_.subspan(count);
  return front;
}

std::string_view ByteReader::text(std::uint64_t count) {
  const auto bytes = take(count);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::uint8_t ByteReader::u8() { return std::to_integer<std::uint8_t>(take(1)[0]); }

std::uint32_t ByteReader::u32_le() { return static_cast<std::uint32_t>(little_endian(take(4))); }

std::uint32_t ByteReader::u32_be() { return __builtin_bswap32(u32_le()); }

std::uint64_t ByteReader::u64_le() { return little_endian(take(8)); }

std::uint64_t ByteReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const std::uint64_t byte = u8();
    SACCADE_CHECK(shift < 63 || byte <= 1, kOp, where_, " holds a number beyond 64 bits");
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  fail(kOp, where_, " holds a number beyond 64 bits");
}

std::size_t ByteReader::count() {
  const std::uint64_t items = varint();
  SACCADE_CHECK(items <= rest_.size(), kOp, where_, " is truncated: it announces ", items,
                " items in ", rest_.size(), " bytes");
  return items;
}

std::vector<std::uint64_t> ByteReader::varints(std::size_t count) {
  SACCADE_CHECK(count <= rest_.size(), kOp, where_, " is truncated: ", count,
                " numbers must follow in ", rest_.size(), " bytes");
  std::vector<std::uint64_t> values(count);
  for (auto& value : values) value = varint();
  return values;
}

}  // namespace saccade::io::orbax
