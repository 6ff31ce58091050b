#include "server/recorder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "server/log.h"

namespace saccade::server {
namespace {

namespace fs = std::filesystem;

constexpr auto kOption = "--record";
/// io::read_text takes no longer index.
constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{16} << 20;
/// More than the header of a safetensors file has for a tensor, beside its name.
constexpr std::uint64_t kTensorHeaderBytes = 256;
constexpr int kChannels = 3;
constexpr std::size_t kEscaped = 6;  // bytes of a control character in JSON

/// At most what it takes in the recording, beside its line in the index.
std::uint64_t bytes_of(const AnsweredRequest& answered) {
  if (!answered.input) return 0;
  const Observation& observation = answered.input->observation;
  std::uint64_t bytes = observation.state.size() * sizeof(double) + 9 * kTensorHeaderBytes;
  bytes += answered.chunk.values.size() * sizeof(float);
  if (observation.prompt) bytes += observation.prompt->size() * kEscaped;
  if (observation.realtime) bytes += observation.realtime->previous.size() * sizeof(float);
  for (const auto& [camera, frame] : observation.frames) {
    bytes += std::uint64_t(frame.height) * std::uint64_t(frame.width) * kChannels;
    bytes += camera.size() * kEscaped + kTensorHeaderBytes;
  }
  return bytes;
}

}  // namespace

Recorder::Recorder(const RecorderOptions& options) : options_(options) {
  const fs::path& directory = options_.directory;
  std::error_code error;
  fs::create_directories(directory, error);
  SACCADE_CHECK(!error, kOption, "cannot make the directory ", directory.string(), ": ",
                error.message());
  index_ = ::open((directory / kIndexName).c_str(),
                  O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  SACCADE_CHECK(index_ >= 0 || errno != EEXIST, kOption, directory.string(),
                " holds a recording already; name another directory");
  SACCADE_CHECK(index_ >= 0, kOption, "cannot write to ", directory.string(), ": ",
                std::strerror(errno));
}

Recorder::~Recorder() {
  if (queue_) {
    queue_.reset();
    log_line("info", "recorded",
             {{"directory", options_.directory.string()},
              {"requests", counts_.recorded},
              {"dropped", counts_.all_dropped()}});
  }
  ::close(index_);
  if (index_bytes_ == 0) ::unlink((options_.directory / kIndexName).c_str());
}

void Recorder::start(std::string_view header) {
  append(header);
  counts_.bytes = index_bytes_;
  queue_.emplace(options_.queue, [this](AnsweredRequest& answered) { write(answered); });
}

void Recorder::record(AnsweredRequest answered) {
  if (queue_->push(std::move(answered))) return;
  const std::lock_guard lock(mutex_);
  drop(DropReason::kQueue, "the disk is slower than the requests come");
}

RecordCounts Recorder::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void Recorder::write(AnsweredRequest& answered) {
  const std::uint64_t number = handled_++;
  fs::path file;
  if (answered.input) {
    answered.request.file = request_file_name(number);
    file = options_.directory / answered.request.file;
  }
  const std::string line = index_line(answered.request);
  std::uint64_t used = 0;
  {
    const std::lock_guard lock(mutex_);
    used = counts_.bytes;
    if (used + bytes_of(answered) + line.size() > options_.limit_bytes ||
        index_bytes_ + line.size() > kMaxIndexBytes) {
      return drop(DropReason::kLimit, "--record-limit is reached");
    }
  }
  std::error_code error;
  try {
    if (!file.empty()) {
      write_request(file, answered.input->observation, answered.chunk);
      used += fs::file_size(file, error);
    }
    append(line);
  } catch (const InvalidArgument& failure) {
    if (!file.empty()) fs::remove(file, error);
    const std::lock_guard lock(mutex_);
    return drop(DropReason::kDisk, failure.what());
  }
  const std::lock_guard lock(mutex_);
  ++counts_.recorded;
  counts_.bytes = used + line.size();
}

/// The whole line or, where the disk is full, none of it.
void Recorder::append(std::string_view line) {
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t count = ::write(index_, rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int reason = errno;
      const bool cut = ::ftruncate(index_, off_t(index_bytes_)) == 0;
      fail(kOption, "cannot write ", (options_.directory / kIndexName).string(), ": ",
           std::strerror(reason), cut ? "" : ", and its last line is cut off");
    }
    rest.remove_prefix(std::size_t(count));
  }
  index_bytes_ += line.size();
}

/// Under the lock. Logs the first of its kind.
void Recorder::drop(DropReason reason, std::string_view sentence) {
  if (counts_.dropped[std::size_t(reason)]++ > 0) return;
  log_line("warning", "not_recorded", {{"reason", name_of(reason)}, {"error", sentence}});
}

}  // namespace saccade::server
