#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/orbax/ocdbt.h"
#include "io/weight_source.h"

namespace saccade::io::orbax {

/// A zarr v2 array: a grid of equally large chunks in row-major order, each compressed alone. The
/// chunks at the far edges are padded to full size.
struct ZarrArray {
  std::string name;  // as in keys: "params.PaliGemma.img.head.kernel"
  FileDType dtype = FileDType::kF32;
  bool compressed = false;            // with zstd
  std::vector<std::int64_t> extents;  // [1] for a scalar
  std::vector<std::int64_t> chunk_extents;
  std::vector<std::int64_t> grid;  // chunks along each axis
  std::vector<Value> chunks;       // in row-major order of the grid

  char separator = '.';  // in keys of chunks: "params.PaliGemma.img.head.kernel/0.0"

  std::int64_t chunk_bytes() const;
  std::string chunk_key(std::size_t chunk) const;
};

/// The array that the JSON text of its .zarray describes, with its chunks out of `values`. `file`
/// holds that text, for messages. Fails when a chunk is missing.
ZarrArray parse_zarr(const std::string& name, std::span<const std::byte> metadata,
                     const std::string& file, const KeyValues& values);

}  // namespace saccade::io::orbax
