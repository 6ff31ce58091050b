#include "io/orbax/zstd_stream.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace saccade::io::orbax {
namespace {

constexpr auto kOp = "orbax";
constexpr std::size_t kBlockBytes = 128 << 10;

}  // namespace

ZstdStream::ZstdStream(std::span<const std::byte> frame, std::string where)
    : context_(ZSTD_createDCtx()), input_{frame.data(), frame.size(), 0}, where_(std::move(where)) {
  SACCADE_CHECK(context_ != nullptr, kOp, where_, ": no memory for the zstd decoder");
}

std::size_t ZstdStream::read(std::span<std::byte> out) {
  ZSTD_outBuffer output{out.data(), out.size(), 0};
  while (output.pos < output.size && !ended_) {
    const std::size_t output_before = output.pos;
    const std::size_t input_before = input_.pos;
    const std::size_t status = ZSTD_decompressStream(context_.get(), &output, &input_);
    SACCADE_CHECK(!ZSTD_isError(status), kOp, where_,
                  " is not a valid zstd frame: ", ZSTD_getErrorName(status));
    ended_ = status == 0;
    const bool moved = output.pos > output_before || input_.pos > input_before;
    SACCADE_CHECK(ended_ || moved, kOp, where_, " is truncated: its zstd frame has no end");
  }
  return output.pos;
}

void ZstdStream::expect_end() {
  std::byte extra;
  SACCADE_CHECK(read({&extra, 1}) == 0, kOp, where_, " decodes to more bytes than it should");
  SACCADE_CHECK(input_.pos == input_.size, kOp, where_, " has ", input_.size - input_.pos,
                " bytes after its zstd frame");
}

std::uint64_t max_decoded_bytes(std::uint64_t frame_bytes) {
  return frame_bytes / 4 > (std::uint64_t{1} << 40) ? ~std::uint64_t{0}
                                                    : (frame_bytes / 4 + 1) * kBlockBytes;
}

std::vector<std::byte> decode_zstd(std::span<const std::byte> frame, std::uint64_t limit,
                                   const std::string& where) {
  ZstdStream stream(frame, where);
  std::vector<std::byte> decoded;
  while (decoded.size() < limit) {
    const std::size_t step = std::min<std::uint64_t>(kBlockBytes, limit - decoded.size());
    const std::size_t before = decoded.size();
    decoded.resize(before + step);
    const std::size_t got = stream.read({decoded.data() + before, step});
    decoded.resize(before + got);
    if (got < step) break;
  }
  stream.expect_end();
  return decoded;
}

}  // namespace saccade::io::orbax
