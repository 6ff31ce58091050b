#include "io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace saccade::io {
namespace {

struct Descriptor {
  int value;
  ~Descriptor() { ::close(value); }
};

std::uint64_t page_size() { return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  const std::string where = path.string();
  // Without O_NONBLOCK, opening a named pipe would wait for its writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  SACCADE_CHECK(file.value >= 0, where, "the file could not be opened: ", std::strerror(errno));
  struct stat status {};
  SACCADE_CHECK(::fstat(file.value, &status) == 0, where,
                "the file could not be read: ", std::strerror(errno));
  SACCADE_CHECK(S_ISREG(status.st_mode), where, "this is not a regular file");
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* mapping = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.value, 0);
  SACCADE_CHECK(mapping != MAP_FAILED, where,
                "the file could not be mapped: ", std::strerror(errno));
  data_ = static_cast<std::byte*>(mapping);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

void MappedFile::prefetch(std::uint64_t begin, std::uint64_t count) const {
  if (count == 0) return;
  const std::uint64_t first = begin / page_size() * page_size();
  ::madvise(data_ + first, begin + count - first, MADV_WILLNEED);
}

void MappedFile::drop(std::uint64_t begin, std::uint64_t count) const {
  const std::uint64_t first = (begin + page_size() - 1) / page_size() * page_size();
  const std::uint64_t last = (begin + count) / page_size() * page_size();
  if (first < last) ::madvise(data_ + first, last - first, MADV_DONTNEED);
}

}  // namespace saccade::io
