#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "runtime/observations.h"
#include "saccade/policy.h"
#include "server/metrics.h"
#include "server/recording.h"

namespace saccade::server {

struct RecorderOptions {
  std::filesystem::path directory;
  std::uint64_t limit_bytes = std::uint64_t{1} << 30;  // of all that it writes
  std::uint64_t queue_bytes = std::uint64_t{256} << 20;
  std::size_t queue_requests = 256;
};

/// Writes requests and their replies on a thread of its own. Whoever has one copies its pixels and
/// goes on: what does not fit into the queue, into the limit or on the disk is dropped and counted.
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

  /// Never waits for the disk. No observation: the message could not be read. `chunk` is looked at
  /// where the request has no error. Any thread may.
  void record(RecordedRequest, const Observation*, const ActionChunk&);

  RecordCounts counts() const;

 private:
  /// A request that owns what it points at.
  struct Job {
    RecordedRequest request;
    StoredObservation stored;
    bool has_observation = false;
    ActionChunk chunk;
    std::uint64_t bytes = 0;
  };

  void work();
  void write(Job&, std::uint64_t number);
  void append(std::string_view line);
  void drop(DropReason, std::string_view sentence = {});

  const RecorderOptions options_;
  int index_ = -1;  // a file descriptor
  std::uint64_t index_bytes_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;
  std::uint64_t queued_bytes_ = 0;
  std::vector<std::vector<std::uint8_t>> spare_;
  RecordCounts counts_;
  bool stopping_ = false;
  std::thread thread_;  // the last member: it uses the others
};

}  // namespace saccade::server
