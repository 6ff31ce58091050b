#include "server/recorder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "io/safetensors.h"
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
/// Of pictures that are written: fresh memory takes longer to get than pixels to copy.
constexpr std::size_t kSpareBuffers = 16;
constexpr std::size_t kEscaped = 6;  // bytes of a control character in JSON

std::uint64_t pixels_of(const Frame& frame) {
  return std::uint64_t(frame.height) * std::uint64_t(frame.width) * kChannels;
}

std::uint64_t bytes_of(const Observation& observation) {
  std::uint64_t bytes = observation.state.size() * sizeof(double) + 8 * kTensorHeaderBytes;
  if (observation.prompt) bytes += observation.prompt->size() * kEscaped;
  if (observation.realtime) bytes += observation.realtime->previous.size() * sizeof(float);
  for (const auto& [camera, frame] : observation.frames) {
    bytes += pixels_of(frame) + camera.size() * kEscaped + kTensorHeaderBytes;
  }
  return bytes;
}

/// A copy that owns its pixels, in buffers that it takes where there are any.
StoredObservation copy(const Observation& observation,
                       std::vector<std::vector<std::uint8_t>> buffers) {
  StoredObservation stored;
  stored.observation = observation;
  for (auto& [camera, frame] : stored.observation.frames) {
    io::Image image{frame.height, frame.width, {}};
    if (!buffers.empty()) {
      image.pixels = std::move(buffers.back());
      buffers.pop_back();
    }
    image.pixels.assign(frame.pixels, frame.pixels + pixels_of(frame));
    stored.images.push_back(std::move(image));
    frame.pixels = stored.images.back().pixels.data();
  }
  return stored;
}

template <typename T>
std::span<const std::byte> as_bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

/// The observation and, where there are any, its actions.
void write_request(const fs::path& path, const Observation& observation, const ActionChunk& chunk) {
  std::vector<io::WeightInfo> tensors;
  std::map<std::string, std::span<const std::byte>> contents;
  const auto add = [&](const std::string& name, io::FileDType dtype,
                       std::vector<std::int64_t> extents, std::span<const std::byte> bytes) {
    tensors.push_back({name, dtype, std::move(extents)});
    contents[name] = bytes;
  };
  for (const auto& [camera, frame] : observation.frames) {
    add(camera, io::FileDType::kU8, {frame.height, frame.width, kChannels},
        std::as_bytes(std::span(frame.pixels, pixels_of(frame))));
  }
  add("state", io::FileDType::kF64, {std::int64_t(observation.state.size())},
      as_bytes(observation.state));
  if (!chunk.values.empty()) {
    add(kActionsName, io::FileDType::kF32, {chunk.actions, chunk.action_dim},
        as_bytes(chunk.values));
  }
  std::map<std::string, std::string> metadata{{"seed", std::to_string(observation.seed)}};
  if (observation.prompt) metadata["prompt"] = *observation.prompt;
  if (const auto& realtime = observation.realtime) {
    const std::int64_t rows = realtime->rows;
    const auto columns = rows == 0 ? 0 : std::int64_t(realtime->previous.size()) / rows;
    add(kPreviousName, io::FileDType::kF32, {rows, columns}, as_bytes(realtime->previous));
    metadata.merge(realtime_metadata(*realtime));
  }
  io::write_safetensors(path, metadata, tensors,
                        [&](const io::WeightInfo& tensor, const io::ByteSink& sink) {
                          sink(contents.at(tensor.name));
                        });
}

std::string file_name(std::uint64_t number) {
  constexpr std::size_t kDigits = 8;
  std::string digits = std::to_string(number);
  if (digits.size() < kDigits) digits.insert(0, kDigits - digits.size(), '0');
  return digits + ".safetensors";
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
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
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
  thread_ = std::thread([this] { work(); });
}

void Recorder::record(RecordedRequest request, const Observation* observation,
                      const ActionChunk& chunk) {
  Job job;
  job.request = std::move(request);
  job.bytes = kTensorHeaderBytes + job.request.error.size() * kEscaped;
  const bool has_actions = job.request.error.empty();
  std::vector<std::vector<std::uint8_t>> buffers;
  if (observation != nullptr) job.bytes += bytes_of(*observation);
  if (has_actions) job.bytes += chunk.values.size() * sizeof(float);
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= options_.queue_requests ||
        queued_bytes_ + job.bytes > options_.queue_bytes) {
      return drop(DropReason::kQueue);
    }
    queued_bytes_ += job.bytes;
    if (observation != nullptr) {
      while (!spare_.empty() && buffers.size() < observation->frames.size()) {
        buffers.push_back(std::move(spare_.back()));
        spare_.pop_back();
      }
    }
  }
  if (observation != nullptr) {
    job.has_observation = true;
    job.stored = copy(*observation, std::move(buffers));
  }
  if (has_actions) {
    job.chunk.actions = chunk.actions;
    job.chunk.action_dim = chunk.action_dim;
    job.chunk.values = chunk.values;
  }
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  changed_.notify_one();
}

RecordCounts Recorder::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void Recorder::work() {
  std::unique_lock lock(mutex_);
  for (std::uint64_t number = 0;; ++number) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    write(job, number);
    lock.lock();
    queued_bytes_ -= job.bytes;
    for (io::Image& image : job.stored.images) {
      if (spare_.size() < kSpareBuffers) spare_.push_back(std::move(image.pixels));
    }
  }
}

void Recorder::write(Job& job, std::uint64_t number) {
  fs::path file;
  if (job.has_observation) {
    job.request.file = file_name(number);
    file = options_.directory / job.request.file;
  }
  const std::string line = index_line(job.request);
  std::uint64_t used = 0;
  {
    const std::lock_guard lock(mutex_);
    used = counts_.bytes;
    if (used + job.bytes + line.size() > options_.limit_bytes ||
        index_bytes_ + line.size() > kMaxIndexBytes) {
      return drop(DropReason::kLimit, "--record-limit is reached");
    }
  }
  std::error_code error;
  try {
    if (!file.empty()) {
      write_request(file, job.stored.observation, job.chunk);
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
  if (sentence.empty()) sentence = "the disk is slower than the requests come";
  log_line("warning", "not_recorded", {{"reason", name_of(reason)}, {"error", sentence}});
}

}  // namespace saccade::server
