#include "io/orbax/array_reader.h"

#include <algorithm>
#include <new>
#include <utility>

#include "core/check.h"
#include "io/json.h"

namespace saccade::io::orbax {
namespace {

constexpr auto kOp = "orbax";
// Each chunk of a row has a decoder of about a megabyte.
constexpr std::int64_t kMaxChunksPerRow = 4096;

// The bytes of one index of every axis.
std::vector<std::int64_t> index_bytes(const std::vector<std::int64_t>& extents, FileDType dtype) {
  std::vector<std::int64_t> bytes(extents.size());
  std::int64_t size = static_cast<std::int64_t>(size_of(dtype));
  for (std::size_t axis = extents.size(); axis-- > 0; size *= extents[axis]) bytes[axis] = size;
  return bytes;
}

}  // namespace

ArrayReader::ArrayReader(Files& files, ZarrArray array, bool layered)
    : files_(files),
      array_(std::move(array)),
      extents_(array_.extents),
      chunk_extents_(array_.chunk_extents),
      grid_(array_.grid) {
  if (!layered) {
    for (auto* axes : {&extents_, &chunk_extents_, &grid_}) axes->insert(axes->begin(), 1);
  }
  slab_bytes_ = index_bytes(extents_, array_.dtype);
  chunk_bytes_ = index_bytes(chunk_extents_, array_.dtype);
  split_axis_ = extents_.size() - 1;
  while (split_axis_ > 0 && extents_[split_axis_] == chunk_extents_[split_axis_]) --split_axis_;
  const std::int64_t per_row = static_cast<std::int64_t>(array_.chunks.size()) / grid_[0];
  SACCADE_CHECK(per_row <= kMaxChunksPerRow, kOp, quote(array_.name), " has ", per_row,
                " chunks per layer, more than ", kMaxChunksPerRow);
  for (std::int64_t row = 0; row < grid_[0]; ++row) open_row(row);
}

std::vector<ChunkStream> ArrayReader::open_row(std::int64_t row) {
  const std::size_t per_row = array_.chunks.size() / grid_[0];
  std::vector<ChunkStream> chunks;
  chunks.reserve(per_row);
  for (std::size_t i = row * per_row; i < (row + 1) * per_row; ++i) {
    const Value& value = array_.chunks[i];
    const std::string what = "the chunk " + quote(array_.chunk_key(i));
    chunks.emplace_back(files_, value_bytes(files_, value, what), array_.compressed,
                        array_.chunk_bytes(), files_.describe(value.file) + ": " + what);
  }
  return chunks;
}

const std::byte* ArrayReader::slab(std::int64_t layer) {
  if (decoded_ == layer) return slab_.get();
  SACCADE_CHECK(layer >= 0 && layer < layers(), kOp, quote(array_.name), " has ", layers(),
                " layers, asked for ", layer);
  decoded_ = -1;
  const std::int64_t row_index = layer / chunk_extents_[0];
  // row_ stays empty when decoding fails, so that the next call starts the chunks again.
  auto row = std::exchange(row_, {});
  if (row.empty() || next_ > layer || next_ / chunk_extents_[0] != row_index) {
    row = open_row(row_index);
    next_ = row_index * chunk_extents_[0];
  }
  if (!slab_) slab_.reset(new (std::nothrow) std::byte[slab_bytes_[0]]);
  SACCADE_CHECK(slab_, kOp, quote(array_.name), " needs ", slab_bytes_[0], " bytes of memory");
  for (; next_ <= layer; ++next_) read_layer(row, next_, next_ == layer);
  if (next_ < layers() && next_ % chunk_extents_[0] != 0) row_ = std::move(row);
  decoded_ = layer;
  return slab_.get();
}

// Moves the chunks of a row from the start of `layer` to its end.
void ArrayReader::read_layer(std::vector<ChunkStream>& row, std::int64_t layer, bool keep) {
  const bool last_of_row = layer + 1 == layers() || (layer + 1) % chunk_extents_[0] == 0;
  const std::size_t axes = extents_.size();
  std::vector<std::int64_t> index(axes, 0);  // in the grid
  for (auto& chunk : row) {
    std::vector<std::int64_t> valid(axes);
    std::byte* out = slab_.get();
    for (std::size_t axis = 1; axis < axes; ++axis) {
      const std::int64_t first = index[axis] * chunk_extents_[axis];
      valid[axis] = std::min(chunk_extents_[axis], extents_[axis] - first);
      out += first * slab_bytes_[axis];
    }
    if (keep) {
      scatter(chunk, valid, 1, out);
    } else {
      chunk.skip(chunk_bytes_[0]);
    }
    if (last_of_row) chunk.finish();
    for (std::size_t axis = axes; axis-- > 1;) {
      if (++index[axis] < grid_[axis]) break;
      index[axis] = 0;
    }
  }
}

// Decodes the axes from `axis` on, and leaves out the padding behind `valid`.
void ArrayReader::scatter(ChunkStream& chunk, const std::vector<std::int64_t>& valid,
                          std::size_t axis, std::byte* out) {
  if (axis > split_axis_) {
    chunk.read({out, static_cast<std::size_t>(chunk_bytes_[axis - 1])});
    return;
  }
  if (axis == split_axis_) {
    chunk.read({out, static_cast<std::size_t>(valid[axis] * chunk_bytes_[axis])});
  } else {
    for (std::int64_t i = 0; i < valid[axis]; ++i) {
      scatter(chunk, valid, axis + 1, out + i * slab_bytes_[axis]);
    }
  }
  chunk.skip((chunk_extents_[axis] - valid[axis]) * chunk_bytes_[axis]);
}

void ArrayReader::close() {
  row_.clear();
  slab_.reset();
  decoded_ = -1;
}

}  // namespace saccade::io::orbax
