#include "server/inference_thread.h"

#include <exception>
#include <sstream>
#include <utility>

namespace saccade::server {

double milliseconds_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - start).count();
}

InferenceThread::InferenceThread(Infer infer, std::uint64_t first_seed,
                                 std::optional<double> deadline_ms)
    : infer_(std::move(infer)),
      next_seed_(first_seed),
      deadline_ms_(deadline_ms),
      thread_([this] { work(); }) {}

InferenceThread::~InferenceThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void InferenceThread::submit(Request request) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(request));
  }
  changed_.notify_one();
}

std::size_t InferenceThread::length() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

void InferenceThread::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    Request request = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (!*request.abandoned) {
      Outcome outcome = run(request);
      request.done(std::move(request.input), std::move(outcome));
    }
    request = {};  // not under the lock: it may hold the last reference to a connection
    lock.lock();
  }
}

void InferenceThread::check_deadline(const Request& request, Outcome& outcome) const {
  const double ms = milliseconds_between(request.received, Clock::now());
  if (!deadline_ms_ || ms <= *deadline_ms_) return;
  std::ostringstream text;
  text << "[deadline] the deadline of " << *deadline_ms_ << " ms (--deadline-ms) was missed: " << ms
       << " ms had passed, " << outcome.queue_ms << " ms of them in the queue and "
       << outcome.policy_ms << " ms in the policy";
  outcome.error = ErrorKind::kDeadline;
  outcome.message = text.str();
}

Outcome InferenceThread::run(Request& request) {
  Outcome outcome;
  const Clock::time_point start = Clock::now();
  outcome.queue_ms = milliseconds_between(request.received, start);
  check_deadline(request, outcome);
  if (outcome.error) return outcome;
  Observation& observation = request.input->observation;
  outcome.seed = observation.seed = next_seed_++;
  const auto failed = [&](ErrorKind kind, const char* message) {
    outcome.error = kind;
    outcome.message = message;
  };
  try {
    outcome.chunk = infer_(observation);
  } catch (const InvalidArgument& error) {
    failed(ErrorKind::kObservation, error.what());
  } catch (const DeviceError& error) {
    failed(ErrorKind::kDevice, error.what());
  } catch (const std::exception& error) {
    failed(ErrorKind::kInternal, error.what());
  }
  outcome.policy_ms = milliseconds_between(start, Clock::now());
  if (!outcome.error) check_deadline(request, outcome);
  return outcome;
}

}  // namespace saccade::server
