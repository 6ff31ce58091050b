#include "io/orbax/chunk_stream.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace saccade::io::orbax {
namespace {

constexpr auto kOp = "orbax";
constexpr std::size_t kStepBytes = 4 << 20;  // decoded between two looks at the pages to drop
constexpr std::size_t kSkipBytes = 32 << 10;

}  // namespace

ChunkStream::ChunkStream(Files& files, std::span<const std::byte> stored, bool compressed,
                         std::uint64_t decoded_bytes, std::string where)
    : files_(files),
      stored_(stored),
      compressed_(compressed),
      decoded_bytes_(decoded_bytes),
      where_(std::move(where)) {
  const std::uint64_t limit = compressed ? max_decoded_bytes(stored.size()) : stored.size();
  SACCADE_CHECK(decoded_bytes <= limit && (compressed || decoded_bytes == limit), kOp, where_,
                " has ", stored.size(), " bytes", compressed ? " of zstd" : "",
                ", which cannot hold its ", decoded_bytes);
}

void ChunkStream::read(std::span<std::byte> out) {
  while (!out.empty()) {
    const auto piece = out.first(std::min(out.size(), kStepBytes));
    const std::size_t got = decode(piece);
    position_ += got;
    SACCADE_CHECK(got == piece.size(), kOp, where_, " decodes to ", position_, " bytes instead of ",
                  decoded_bytes_);
    out = out.subspan(got);
  }
}

std::size_t ChunkStream::decode(std::span<std::byte> out) {
  if (!compressed_) {
    const std::size_t count = std::min<std::uint64_t>(out.size(), stored_.size() - position_);
    if (count > 0) std::memcpy(out.data(), stored_.data() + position_, count);
    drop_used(position_ + count);
    return count;
  }
  if (!zstd_) zstd_.emplace(stored_, where_);
  const std::size_t count = zstd_->read(out);
  drop_used(zstd_->consumed());
  return count;
}

void ChunkStream::drop_used(std::size_t used) {
  const bool ended = used == stored_.size();
  if (used == dropped_ || (used - dropped_ < kStepBytes && !ended)) return;
  files_.drop(stored_.subspan(dropped_, used - dropped_));
  dropped_ = used;
}

void ChunkStream::skip(std::uint64_t count) {
  std::array<std::byte, kSkipBytes> scratch;
  while (count > 0) {
    const std::size_t step = std::min<std::uint64_t>(count, scratch.size());
    read({scratch.data(), step});
    count -= step;
  }
}

void ChunkStream::finish() {
  skip(decoded_bytes_ - position_);
  if (zstd_) zstd_->expect_end();
  zstd_.reset();
}

}  // namespace saccade::io::orbax
