#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "saccade/policy.h"
#include "server/environment.h"
#include "server/metrics.h"

namespace saccade::server {

using Clock = std::chrono::steady_clock;

double milliseconds_between(Clock::time_point start, Clock::time_point end);

/// What became of a request: actions, or one sentence.
struct Outcome {
  ActionChunk chunk;
  std::uint64_t seed = 0;
  double queue_ms = 0;   // waited for other clients
  double policy_ms = 0;  // took the policy
  std::optional<ErrorKind> error;
  std::string message;
};

struct Request {
  std::shared_ptr<DecodedObservation> input;
  Clock::time_point received;
  std::shared_ptr<const std::atomic<bool>> abandoned;  // by a client that has left
  /// Called on the inference thread, with the observation as it ran.
  std::function<void(std::shared_ptr<const DecodedObservation>, Outcome)> done;
};

/// The one thread that uses the policy. Requests run in the order in which they come; since a
/// client has one request at a time, clients take turns.
class InferenceThread {
 public:
  using Infer = std::function<ActionChunk(const Observation&)>;

  /// Request i that reaches the policy gets its noise from seed first_seed + i. A request that is
  /// not done within the deadline, counted from its arrival, ends in an error: without running
  /// where it has passed already.
  InferenceThread(Infer, std::uint64_t first_seed, std::optional<double> deadline_ms);

  /// Drops the requests that have not begun. Their `done` is not called.
  ~InferenceThread();
  InferenceThread(const InferenceThread&) = delete;
  InferenceThread& operator=(const InferenceThread&) = delete;

  void submit(Request);

  /// Requests that wait.
  std::size_t length() const;

 private:
  void work();
  Outcome run(Request&);
  void check_deadline(const Request&, Outcome&) const;

  Infer infer_;
  std::uint64_t next_seed_;
  std::optional<double> deadline_ms_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Request> queue_;
  bool stopping_ = false;
  std::thread thread_;  // the last member: it uses the others
};

}  // namespace saccade::server
