#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "io/orbax/chunk_stream.h"
#include "io/orbax/zarr.h"

namespace saccade::io::orbax {

/// Reads an array one slab at a time: one index of its outermost axis ("layered"), or all of it.
/// Only one decoded slab is in memory.
class ArrayReader {
 public:
  /// Fails when a chunk does not lie inside its file. `files` must outlive the reader.
  ArrayReader(Files& files, ZarrArray array, bool layered);

  std::int64_t layers() const { return extents_[0]; }

  /// The elements of a slab, row-major. Valid until the next call, or close(). A layer in front of
  /// the last one restarts the decoding of its chunks.
  const std::byte* slab(std::int64_t layer);

  /// Frees the slab and the decoders.
  void close();

 private:
  std::vector<ChunkStream> open_row(std::int64_t row);
  void read_layer(std::vector<ChunkStream>& row, std::int64_t layer, bool keep);
  void scatter(ChunkStream& chunk, const std::vector<std::int64_t>& valid, std::size_t axis,
               std::byte* out);

  Files& files_;
  ZarrArray array_;
  // An array that is not layered is one layer: a first axis of 1 in front of its own.
  std::vector<std::int64_t> extents_;
  std::vector<std::int64_t> chunk_extents_;
  std::vector<std::int64_t> grid_;
  std::vector<std::int64_t> slab_bytes_;   // of one index of axis i, in the slab
  std::vector<std::int64_t> chunk_bytes_;  // of one index of axis i, in a chunk
  std::size_t split_axis_ = 0;             // behind this axis a chunk is as wide as the array
  std::vector<ChunkStream> row_;           // the chunks that hold next_, in grid order, or empty
  std::int64_t next_ = 0;                  // the layer at which row_ stands
  std::int64_t decoded_ = -1;              // the layer in slab_
  std::unique_ptr<std::byte[]> slab_;
};

}  // namespace saccade::io::orbax
