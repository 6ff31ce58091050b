#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/mapped_file.h"
#include "io/weight_source.h"

namespace saccade::io {

/// A tensor of a safetensors file, and where its elements begin, in bytes from the file's start.
struct SafetensorsEntry {
  WeightInfo info;
  std::uint64_t begin = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
};

/// Reads the header of a file that has `file_bytes` bytes and starts with `head`. Whatever the
/// bytes are, it either fails with one sentence, or all entries lie inside the file, one after
/// the other without holes, aligned to their elements, and none has more than 2^63 - 1 elements.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> head,
                                           std::uint64_t file_bytes, std::string_view where);

/// A mapped safetensors file.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path&);

  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  /// Fails when there is no such tensor.
  const SafetensorsEntry& entry(const std::string& name) const;

  /// The elements of a tensor, little-endian and row-major. Valid while the file lives.
  std::span<const std::byte> bytes(const SafetensorsEntry&) const;

  /// Hints that a tensor will be read soon, or is not needed any more.
  void prefetch(const SafetensorsEntry& e) const { file_.prefetch(e.begin, e.info.bytes()); }
  void drop(const SafetensorsEntry& e) const { file_.drop(e.begin, e.info.bytes()); }

 private:
  std::filesystem::path path_;
  MappedFile file_;
  SafetensorsHeader header_;
};

/// Takes the bytes of a tensor, in pieces of any size.
using ByteSink = std::function<void(std::span<const std::byte>)>;

/// Gives the bytes of a tensor to a sink.
using TensorFill = std::function<void(const WeightInfo&, const ByteSink&)>;

/// Writes a safetensors file, one tensor after the other, so that only what `fill` holds is in
/// memory. Wider element types come first, which aligns all of them; otherwise the order stays.
/// The file appears under its name when it is complete; until then it is "<path>.partial", which
/// is removed on failure.
void write_safetensors(const std::filesystem::path&,
                       const std::map<std::string, std::string>& metadata,
                       const std::vector<WeightInfo>& tensors, const TensorFill& fill);

/// The same file, to whatever takes its bytes in turn. `where` names it in messages.
void write_safetensors(const ByteSink&, const std::string& where,
                       const std::map<std::string, std::string>& metadata,
                       const std::vector<WeightInfo>& tensors, const TensorFill& fill);

}  // namespace saccade::io
