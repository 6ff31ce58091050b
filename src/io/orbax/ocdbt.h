#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/orbax/files.h"

namespace saccade::io::orbax {

/// Where the value of a key lies.
struct Value {
  std::string file;  // that holds the value, or the node with an inline value
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::optional<std::vector<std::byte>> inline_bytes;
};

using KeyValues = std::map<std::string, Value>;

/// Whether to verify checksums. Only a fuzzer, which cannot guess them, does not.
enum class Crc : std::uint8_t { kVerify, kIgnore };

/// All keys of the newest version of the OCDBT database whose manifest is "manifest.ocdbt".
KeyValues read_ocdbt(Files& files, Crc crc = Crc::kVerify);

/// All files below a directory, each as a key: the layout of checkpoints without OCDBT.
KeyValues list_directory(const std::filesystem::path& directory);

/// The bytes of a value. `what` names it when its file is too short.
std::span<const std::byte> value_bytes(Files& files, const Value& value, const std::string& what);

}  // namespace saccade::io::orbax
