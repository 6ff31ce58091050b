#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>

#include "core/check.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace saccade::io {
namespace {

constexpr std::size_t kHeaderAlignment = 8;
constexpr char kMetadata[] = "__metadata__";

/// A file that takes its name only when commit() is called, and is removed otherwise.
class PartialFile {
 public:
  explicit PartialFile(const std::filesystem::path& path)
      : path_(path), partial_(path.string() + ".partial") {
    ::unlink(partial_.c_str());
    file_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file_ < 0) fail_with_errno();
  }
  ~PartialFile() {
    if (file_ >= 0) ::close(file_);
    if (!committed_) ::unlink(partial_.c_str());
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(file_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail_with_errno();
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }

  void commit() {
    const int file = std::exchange(file_, -1);
    if (::close(file) != 0) fail_with_errno();
    if (std::rename(partial_.c_str(), path_.c_str()) != 0) fail_with_errno();
    committed_ = true;
  }

 private:
  [[noreturn]] void fail_with_errno() const {
    fail(path_.string(), "the file could not be written: ", std::strerror(errno));
  }

  std::filesystem::path path_;
  std::string partial_;
  int file_ = -1;
  bool committed_ = false;
};

std::string make_header(const std::map<std::string, std::string>& metadata,
                        const std::vector<WeightInfo>& tensors, std::string_view where) {
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  std::set<std::string_view> names;
  std::uint64_t begin = 0;
  for (const WeightInfo& tensor : tensors) {
    SACCADE_CHECK(tensor.name != kMetadata, where, "no tensor may be named ", quote(kMetadata));
    SACCADE_CHECK(names.insert(tensor.name).second, where, "tensor ", quote(tensor.name),
                  " is there twice");
    const std::uint64_t end = begin + tensor.bytes();
    header[tensor.name] = {{"dtype", name_of(tensor.dtype)},
                           {"shape", tensor.extents},
                           {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::type_error&) {
    fail(where, "the name of a tensor or its metadata is not valid UTF-8");
  }
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  return text;
}

}  // namespace

void write_safetensors(const ByteSink& sink, const std::string& where,
                       const std::map<std::string, std::string>& metadata,
                       const std::vector<WeightInfo>& tensors, const TensorFill& fill) {
  std::vector<WeightInfo> order = tensors;
  std::stable_sort(order.begin(), order.end(), [](const WeightInfo& a, const WeightInfo& b) {
    return size_of(a.dtype) > size_of(b.dtype);
  });
  const std::string header = make_header(metadata, order, where);
  const std::uint64_t length = header.size();
  sink(std::as_bytes(std::span(&length, 1)));
  sink(std::as_bytes(std::span(header)));
  for (const WeightInfo& tensor : order) {
    std::uint64_t written = 0;
    fill(tensor, [&](std::span<const std::byte> bytes) {
      written += bytes.size();
      sink(bytes);
    });
    SACCADE_CHECK(written == tensor.bytes(), where, "tensor ", quote(tensor.name), " was given ",
                  written, " bytes, it has ", tensor.bytes());
  }
}

void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, std::string>& metadata,
                       const std::vector<WeightInfo>& tensors, const TensorFill& fill) {
  PartialFile file(path);
  write_safetensors([&](std::span<const std::byte> bytes) { file.write(bytes); }, path.string(),
                    metadata, tensors, fill);
  file.commit();
}

}  // namespace saccade::io
