#include "server/rerun_feed.h"

#include <chrono>
#include <cstdlib>
#include <future>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "core/check.h"
#include "server/log.h"
#include "server/rerun_script.h"

namespace saccade::server {
namespace {

constexpr auto kOption = "--rerun";
constexpr auto kVariable = "SACCADE_PYTHON";
constexpr auto kReady = "ready";
/// For the pictures under way when the server stops.
constexpr auto kFarewell = std::chrono::seconds(5);
/// A viewer that lags by more than this shows a past that nobody waits for.
constexpr AnswerQueue::Limits kLimits{.requests = 64, .bytes = std::uint64_t{128} << 20};

std::vector<std::string> command(const std::string& target) {
  const char* python = std::getenv(kVariable);
  return {python == nullptr ? "python3" : python, "-c", std::string(rerun_script()), "-", target};
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

RerunFeed::RerunFeed(const std::string& target) : process_(kOption, command(target)) {
  const std::string line = process_.read_line();
  if (line == kReady) return;
  SACCADE_CHECK(!line.empty(), kOption, command(target)[0], " ended before it was ready; ",
                kVariable, " names another Python");
  fail(kOption, line);
}

RerunFeed::~RerunFeed() {
  if (!queue_) return;
  // Whoever does not read any more holds up the queue, which only the process's end sets free.
  std::promise<void> done;
  std::thread guard([&, ends = done.get_future()] {
    if (ends.wait_for(kFarewell) == std::future_status::timeout) process_.kill();
  });
  queue_.reset();
  process_.finish(kFarewell);
  done.set_value();
  guard.join();
  log_line("info", "rerun_closed", {{"requests", sent_}, {"dropped", dropped_.load()}});
}

void RerunFeed::start(std::string_view header) {
  process_.write(bytes_of(header));
  queue_.emplace(kLimits, [this](AnsweredRequest& answered) { send(answered); });
}

void RerunFeed::show(AnsweredRequest answered) {
  if (ended_ || queue_->push(std::move(answered)) || dropped_++ > 0) return;
  log_line("warning", "rerun_dropped", {{"error", "Rerun is slower than the requests come"}});
}

void RerunFeed::send(AnsweredRequest& answered) {
  if (ended_) return;
  if (answered.input) answered.request.file = request_file_name(sent_);
  std::string line = index_line(answered.request);
  bool taken = true;
  const auto sink = [&](std::span<const std::byte> bytes) {
    // The line goes ahead of the file only once it is certain that there is one.
    if (!line.empty()) taken = process_.write(bytes_of(std::exchange(line, {})));
    taken = taken && process_.write(bytes);
  };
  try {
    if (answered.input) {
      write_request(sink, kOption, answered.input->observation, answered.chunk);
    } else {
      sink({});
    }
  } catch (const InvalidArgument&) {  // a client made up a camera with a name that no file takes
    ++dropped_;
    return;
  }
  taken ? void(++sent_) : end();
}

void RerunFeed::end() {
  ended_ = true;
  log_line("warning", "rerun_ended",
           {{"error", "the Python process has ended; requests are not shown any more"}});
}

}  // namespace saccade::server
