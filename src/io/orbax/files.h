#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "io/mapped_file.h"

namespace saccade::io::orbax {

/// The files of one params directory, by path relative to it.
class Files {
 public:
  virtual ~Files() = default;

  /// The whole file. Valid as long as this object. Fails when the file cannot be read.
  virtual std::span<const std::byte> bytes(const std::string& path) = 0;

  /// Says that a part of what bytes() returned has been used, so that it need not stay in memory.
  /// Other bytes, such as a decoded copy, are left alone.
  virtual void drop(std::span<const std::byte> used) = 0;

  /// The file as a message names it.
  virtual std::string describe(const std::string& path) const = 0;

  /// The range [offset, offset + length) of a file. `what` names it when the file is too short.
  std::span<const std::byte> range(const std::string& path, std::uint64_t offset,
                                   std::uint64_t length, const std::string& what);
};

/// Files of a directory, mapped on first use.
class MappedFiles : public Files {
 public:
  explicit MappedFiles(std::filesystem::path directory);

  std::span<const std::byte> bytes(const std::string& path) override;
  void drop(std::span<const std::byte> used) override;
  std::string describe(const std::string& path) const override;

 private:
  std::filesystem::path directory_;
  std::map<std::string, MappedFile> mapped_;
};

}  // namespace saccade::io::orbax
