#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "io/orbax/files.h"
#include "io/orbax/zstd_stream.h"

namespace saccade::io::orbax {

/// The elements of one chunk, decoded front to back, so that a chunk of gigabytes takes no memory.
/// Pages of the file are dropped as they are used.
class ChunkStream {
 public:
  /// `stored` must stay valid; `decoded_bytes` is what the chunk must decode to; `where` names the
  /// chunk in messages.
  ChunkStream(Files& files, std::span<const std::byte> stored, bool compressed,
              std::uint64_t decoded_bytes, std::string where);

  /// Fills `out` with the next bytes.
  void read(std::span<std::byte> out);
  void skip(std::uint64_t count);

  /// Decodes what is left, checks that the chunk ends where it should, and frees the decoder.
  void finish();

 private:
  std::size_t decode(std::span<std::byte> out);
  void drop_used(std::size_t used);

  Files& files_;
  std::span<const std::byte> stored_;
  bool compressed_;
  std::uint64_t decoded_bytes_;
  std::uint64_t position_ = 0;  // in the decoded chunk
  std::size_t dropped_ = 0;     // bytes of stored_
  std::string where_;
  std::optional<ZstdStream> zstd_;  // from the first byte to the last
};

}  // namespace saccade::io::orbax
