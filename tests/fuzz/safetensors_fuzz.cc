// Any bytes are either refused in a sentence or describe tensors that lie inside the file.

#include <algorithm>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "io/canonical_names.h"
#include "io/safetensors.h"
#include "saccade/error.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void parse(std::span<const std::byte> file) {
  using namespace saccade::io;
  const SafetensorsHeader header = parse_safetensors_header(file, file.size(), "fuzz");
  std::vector<std::string> keys;
  std::uint64_t bytes = 0;
  for (const auto& [name, entry] : header.entries) {
    require(entry.begin <= file.size() && entry.info.bytes() <= file.size() - entry.begin);
    require(entry.info.bytes() == 0 || entry.begin % size_of(entry.info.dtype) == 0);
    require(entry.info.size() >= 0);
    bytes += entry.info.bytes();
    keys.push_back(name);
  }
  require(bytes <= file.size());
  require(canonical_names(keys, "fuzz").size() == keys.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The length field is the fuzzer's, or fits: otherwise few inputs reach the JSON behind it.
  std::vector<std::byte> file(size + 8);
  const std::uint64_t length = size > 0 ? size - std::min<std::size_t>(size, data[size - 1]) : 0;
  for (std::size_t i = 0; i < 8; ++i) file[i] = std::byte(length >> (8 * i));
  for (std::size_t i = 0; i < size; ++i) file[i + 8] = std::byte(data[i]);
  for (const auto bytes :
       {std::span<const std::byte>(file), std::span<const std::byte>(file).subspan(8)}) {
    try {
      parse(bytes);
    } catch (const saccade::InvalidArgument&) {
    }
  }
  return 0;
}
