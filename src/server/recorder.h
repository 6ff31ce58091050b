#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string_view>

#include "server/answer_queue.h"
#include "server/metrics.h"

namespace saccade::server {

struct RecorderOptions {
  std::filesystem::path directory;
  std::uint64_t limit_bytes = std::uint64_t{1} << 30;  // of all that it writes
  AnswerQueue::Limits queue = {};
};

/// Writes requests and their replies on a thread of its own. What does not fit into the queue, into
/// the limit or on the disk is dropped and counted.
class Recorder {
 public:
  /// Begins a recording in a directory that has none, and makes it if need be. Fails with one
  /// sentence where nothing can be written.
  explicit Recorder(const RecorderOptions&);

  /// Writes what is queued. A recording that was never started leaves no file.
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// Writes the first line of the index, or fails. To be called once, before all others.
  void start(std::string_view header);

  /// Never waits for the disk. Any thread may.
  void record(AnsweredRequest);

  RecordCounts counts() const;

 private:
  void write(AnsweredRequest&);
  void append(std::string_view line);
  void drop(DropReason, std::string_view sentence);

  const RecorderOptions options_;
  int index_ = -1;  // a file descriptor
  std::uint64_t index_bytes_ = 0;
  std::uint64_t handled_ = 0;  // requests that have left the queue
  mutable std::mutex mutex_;
  RecordCounts counts_;
  std::optional<AnswerQueue> queue_;  // the last member: its thread uses the others
};

}  // namespace saccade::server
