#include "server/answer_queue.h"

#include <utility>

namespace saccade::server {

std::uint64_t AnsweredRequest::bytes() const {
  std::uint64_t bytes = sizeof(*this) + request.error.size();
  bytes += chunk.values.size() * sizeof(float) + chunk.tokens.size() * sizeof(int);
  if (!input) return bytes;
  bytes += input->message_bytes;
  for (const auto& pixels : input->pixels) bytes += pixels.size();
  return bytes;
}

AnswerQueue::AnswerQueue(Limits limits, std::function<void(AnsweredRequest&)> handle)
    : limits_(limits), handle_(std::move(handle)), thread_([this] { work(); }) {}

AnswerQueue::~AnswerQueue() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

bool AnswerQueue::push(AnsweredRequest answered) {
  const std::uint64_t bytes = answered.bytes();
  {
    const std::lock_guard lock(mutex_);
    if (requests_ >= limits_.requests || bytes_ + bytes > limits_.bytes) return false;
    ++requests_;
    bytes_ += bytes;
    queue_.push_back(std::move(answered));
  }
  changed_.notify_one();
  return true;
}

void AnswerQueue::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    AnsweredRequest answered = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    const std::uint64_t bytes = answered.bytes();
    handle_(answered);
    answered = {};
    lock.lock();
    --requests_;
    bytes_ -= bytes;
  }
}

}  // namespace saccade::server
