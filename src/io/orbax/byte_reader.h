#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace saccade::io::orbax {

/// Reads a buffer front to back. Every call fails with InvalidArgument, naming `where`, rather than
/// read beyond the end.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string where)
      : rest_(bytes), where_(std::move(where)) {}

  std::size_t remaining() const { return rest_.size(); }
  const std::string& where() const { return where_; }

  std::span<const std::byte> take(std::uint64_t count);
  std::string_view text(std::uint64_t count);
  std::uint8_t u8();
  std::uint32_t u32_le();
  std::uint32_t u32_be();
  std::uint64_t u64_le();
  std::uint64_t varint();  // LEB128

  /// A number of items that take at least one byte each, so that it may size a container.
  std::size_t count();
  std::vector<std::uint64_t> varints(std::size_t count);

 private:
  std::span<const std::byte> rest_;
  std::string where_;
};

}  // namespace saccade::io::orbax
