// Input: a mode byte, the length of the first part (u16), the first part, the second part.
//   mode 0  an OCDBT database: its manifest, and what every other file holds
//   mode 1  an array of a layered leaf: its .zarray, and what every chunk of it holds
// Seeds: python tools/make_orbax_goldens.py --fuzz-corpus DIRECTORY

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "../io/orbax_writer.h"
#include "io/orbax/ocdbt.h"
#include "io/orbax/orbax_source.h"
#include "saccade/error.h"

namespace {

using namespace saccade::io;

// A few bytes of zstd may announce, and hold, gigabytes; decoding them finds nothing new.
constexpr std::uint64_t kMaxTensorBytes = 1 << 20;
constexpr int kMaxChunks = 16;

void read_all(WeightSource& source) {
  for (const auto& [name, info] : source.tensors()) {
    if (info.bytes() > kMaxTensorBytes) continue;
    const WeightView view = source.read(name);
    std::int64_t last = 0;
    for (std::size_t axis = 0; axis < view.extents.size(); ++axis) {
      last += (view.extents[axis] - 1) * view.strides[axis];
    }
    const std::size_t element = size_of(view.dtype);
    volatile auto touched = view.data[0] ^ view.data[(last + 1) * element - 1];
    static_cast<void>(touched);
    source.release(name);
  }
}

orbax::KeyValues one_array(const std::string& metadata, std::size_t chunk_bytes) {
  const std::string name = "params.PaliGemma.llm.layers.attn.kv_einsum.w/";
  orbax::KeyValues values;
  values[name + ".zarray"] = {"metadata", 0, metadata.size(), std::nullopt};
  for (int i = 0; i < kMaxChunks; ++i) {
    const auto digit = [i](int bit) { return std::to_string(i >> bit & 1); };
    const std::string index = digit(0) + "." + digit(1) + ".0." + digit(2) + "." + digit(3);
    values[name + index] = {"chunk", 0, chunk_bytes, std::nullopt};
  }
  return values;
}

void run(std::uint8_t mode, const std::string& first, const std::string& second) {
  auto files = std::make_unique<orbax::testing::MemoryFiles>();
  files->fallback = &second;
  if (mode == 0) {
    files->contents["manifest.ocdbt"] = first;
    const auto values = orbax::read_ocdbt(*files, orbax::Crc::kIgnore);
    read_all(*orbax::make_source(std::move(files), values));
  } else {
    files->contents["metadata"] = first;
    const auto values = one_array(first, second.size());
    read_all(*orbax::make_source(std::move(files), values));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 3, size - 3);
  const std::size_t split = std::min<std::size_t>(data[1] | data[2] << 8, rest.size());
  try {
    run(data[0], rest.substr(0, split), rest.substr(split));
  } catch (const saccade::InvalidArgument&) {
  }
  return 0;
}
