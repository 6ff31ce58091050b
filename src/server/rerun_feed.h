#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/answer_queue.h"
#include "server/child_process.h"

namespace saccade::server {

/// Shows requests and their replies in the Rerun viewer. Its SDK is a Python package, so a Python
/// process does it (python/saccade/rerun.py, which the program carries along): its standard input
/// gets what a recording holds, each line of the index with its file behind it. What the viewer is
/// too slow for is dropped and counted; where the process ends, so do the pictures, and no more.
class RerunFeed {
 public:
  /// Starts the process and waits until it is ready, or fails with one sentence. The target is a
  /// new file that ends in .rrd, the address of a viewer such as
  /// rerun+http://127.0.0.1:9876/proxy, or empty: a viewer on this machine, which is started where
  /// none runs.
  explicit RerunFeed(const std::string& target);

  /// Sends what is queued, for a few seconds at most, and ends the process.
  ~RerunFeed();
  RerunFeed(const RerunFeed&) = delete;
  RerunFeed& operator=(const RerunFeed&) = delete;

  /// Sends the first line of the index. To be called once, before show().
  void start(std::string_view header);

  /// Never waits for the process. Any thread may.
  void show(AnsweredRequest);

 private:
  void send(AnsweredRequest&);
  void end();

  ChildProcess process_;
  std::uint64_t sent_ = 0;
  std::atomic<std::uint64_t> dropped_ = 0;
  std::atomic<bool> ended_ = false;   // the process
  std::optional<AnswerQueue> queue_;  // the last member: its thread uses the others
};

}  // namespace saccade::server
