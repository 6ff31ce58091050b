#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace saccade::io {

/// A regular file, mapped read-only. Its pages are read from disk when they are first touched.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path&);
  ~MappedFile();
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Hints for [begin, begin + count): will be read soon; is not needed any more. They change
  /// speed and memory, never the bytes.
  void prefetch(std::uint64_t begin, std::uint64_t count) const;
  void drop(std::uint64_t begin, std::uint64_t count) const;

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace saccade::io
