#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "saccade/policy.h"
#include "server/environment.h"
#include "server/recording.h"

namespace saccade::server {

/// A request and what became of it. Its pixels are shared with whoever else has the request, so
/// that nobody copies them.
struct AnsweredRequest {
  RecordedRequest request;
  std::shared_ptr<const DecodedObservation> input;  // null: the message could not be read
  ActionChunk chunk;                                // empty where the request got an error

  std::uint64_t bytes() const;  // of memory that it keeps
};

/// Answered requests on their way to a thread that is slower than the inference.
class AnswerQueue {
 public:
  struct Limits {
    std::size_t requests = 256;
    std::uint64_t bytes = std::uint64_t{256} << 20;
  };

  /// `handle` gets the requests in turn, on a thread of its own.
  AnswerQueue(Limits, std::function<void(AnsweredRequest&)> handle);

  /// Waits until what is queued has been handled.
  ~AnswerQueue();
  AnswerQueue(const AnswerQueue&) = delete;
  AnswerQueue& operator=(const AnswerQueue&) = delete;

  /// Never waits for `handle`. False: there is no room, and the request is dropped. Any thread may.
  bool push(AnsweredRequest);

 private:
  void work();

  const Limits limits_;
  const std::function<void(AnsweredRequest&)> handle_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<AnsweredRequest> queue_;
  std::size_t requests_ = 0;  // queued or being handled
  std::uint64_t bytes_ = 0;   // of them
  bool stopping_ = false;
  std::thread thread_;  // the last member: it uses the others
};

}  // namespace saccade::server
