#include "io/orbax/files.h"

#include <functional>
#include <utility>

#include "core/check.h"
#include "io/json.h"

namespace saccade::io::orbax {

std::span<const std::byte> Files::range(const std::string& path, std::uint64_t offset,
                                        std::uint64_t length, const std::string& what) {
  const auto file = bytes(path);
  SACCADE_CHECK(offset <= file.size() && length <= file.size() - offset, "orbax", describe(path),
                " is truncated: ", what, " takes ", length, " bytes from offset ", offset,
                ", the file has ", file.size());
  return file.subspan(offset, length);
}

MappedFiles::MappedFiles(std::filesystem::path directory) : directory_(std::move(directory)) {}

std::span<const std::byte> MappedFiles::bytes(const std::string& path) {
  auto found = mapped_.find(path);
  if (found == mapped_.end()) found = mapped_.emplace(path, directory_ / path).first;
  return found->second.bytes();
}

void MappedFiles::drop(std::span<const std::byte> used) {
  const std::less_equal<const std::byte*> not_after;
  for (const auto& [path, file] : mapped_) {
    const auto bytes = file.bytes();
    if (not_after(bytes.data(), used.data()) &&
        not_after(used.data() + used.size(), bytes.data() + bytes.size())) {
      file.drop(used.data() - bytes.data(), used.size());
    }
  }
}

std::string MappedFiles::describe(const std::string& path) const {
  return printable((directory_ / path).string());
}

}  // namespace saccade::io::orbax
