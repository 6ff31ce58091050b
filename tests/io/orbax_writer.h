#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "io/orbax/crc32c.h"
#include "io/orbax/files.h"

// Writes OCDBT files, also such as no library would write.
namespace saccade::io::orbax::testing {

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

inline std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

inline std::string varint(std::uint64_t value) {
  std::string text;
  for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
  return text + static_cast<char>(value);
}

inline std::string varints(const std::vector<std::uint64_t>& values) {
  std::string text;
  for (const auto value : values) text += varint(value);
  return text;
}

inline constexpr std::string_view kManifestMagic{"\x0c\xdb\x3a\x2a", 4};
inline constexpr std::string_view kNodeMagic{"\x0c\xdb\x20\xde", 4};

/// Sets the length in the header and the checksum at the end.
inline std::string seal(std::string blob) {
  blob.replace(4, 8, little_endian(blob.size(), 8));
  const std::string sealed = blob.substr(0, blob.size() - 4);
  return sealed + little_endian(crc32c(as_bytes(sealed)), 4);
}

inline std::string envelope(std::string_view magic, const std::string& body, int version = 0,
                            int compression = 0) {
  return seal(std::string(magic) + std::string(8, '\0') + varint(version) + varint(compression) +
              body + std::string(4, '\0'));
}

/// A table of data files that share nothing; base lengths are 0.
inline std::string file_table(const std::vector<std::string>& paths) {
  const std::size_t count = paths.size();
  std::string text = varint(count);
  if (count == 0) return text;
  text += varints(std::vector<std::uint64_t>(count - 1, 0));
  for (const auto& path : paths) text += varint(path.size());
  text += varints(std::vector<std::uint64_t>(count, 0));
  for (const auto& path : paths) text += path;
  return text;
}

struct Root {
  std::string files = file_table({"d/node"});
  std::uint64_t kind = 0;
  std::uint64_t versions = 1;  // as announced; one is written
  int height = 0;
  std::uint64_t file_id = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t keys = 1;
};

inline std::string manifest_body(const Root& root) {
  return std::string(16, 'u') + varint(root.kind) + varints({1024, 100000000}) + '\4' + varint(0) +
         root.files + varint(root.versions) + varint(1) + static_cast<char>(root.height) +
         varints({root.file_id, root.offset, root.length, root.keys, 0, 0}) + little_endian(0, 8);
}

/// A leaf with one inline value.
inline std::string leaf_body(const std::string& key, const std::string& value) {
  return '\0' + file_table({}) + varints({1, key.size()}) + key + varints({value.size(), 0}) +
         value;
}

/// Files that a test or a fuzzer supplies. Without a name, `fallback` is any other file.
class MemoryFiles : public Files {
 public:
  std::map<std::string, std::string> contents;
  const std::string* fallback = nullptr;

  std::span<const std::byte> bytes(const std::string& path) override {
    const auto found = contents.find(path);
    if (found != contents.end()) return as_bytes(found->second);
    SACCADE_CHECK(fallback, "test", "there is no file ", path);
    return as_bytes(*fallback);
  }
  void drop(std::span<const std::byte>) override {}
  std::string describe(const std::string& path) const override { return path; }
};

}  // namespace saccade::io::orbax::testing
