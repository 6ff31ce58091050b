#pragma once

#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace saccade::io::orbax {

/// Decodes one zstd frame front to back.
class ZstdStream {
 public:
  /// `where` names the frame in messages.
  ZstdStream(std::span<const std::byte> frame, std::string where);

  /// Decodes until `out` is full or the frame ends; returns the bytes decoded.
  std::size_t read(std::span<std::byte> out);

  /// Input bytes decoded so far.
  std::size_t consumed() const { return input_.pos; }

  /// Fails unless the frame, and its input, end here.
  void expect_end();

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };

  std::unique_ptr<ZSTD_DCtx, Free> context_;
  ZSTD_inBuffer input_;
  bool ended_ = false;
  std::string where_;
};

/// An upper bound of what a frame of this size decodes to: a block takes 4 bytes or more and holds
/// 128 KiB or less. It lets a file that announces absurd sizes fail before memory is allocated.
std::uint64_t max_decoded_bytes(std::uint64_t frame_bytes);

/// A whole frame of at most `limit` decoded bytes.
std::vector<std::byte> decode_zstd(std::span<const std::byte> frame, std::uint64_t limit,
                                   const std::string& where);

}  // namespace saccade::io::orbax
