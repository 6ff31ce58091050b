#include "server/service.h"

#include <charconv>
#include <utility>

#include "core/check.h"
#include "server/log.h"
#include "server/msgpack.h"

namespace saccade::server {
namespace {

/// Puts the characters of a URL back that browsers write as %2F.
std::string decode_percent(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char code = 0;
    const char* digits = text.data() + i + 1;
    const bool escaped = text[i] == '%' && i + 2 < text.size() &&
                         std::from_chars(digits, digits + 2, code, 16).ptr == digits + 2;
    decoded.push_back(escaped ? char(code) : text[i]);
    if (escaped) i += 2;
  }
  return decoded;
}

}  // namespace

Service::Service(PolicyInfo info, Environment environment, InferenceThread::Infer infer,
                 const ServiceOptions& options)
    : info_(std::move(info)),
      environment_(std::move(environment)),
      log_requests_(options.log_requests),
      recorder_(options.recorder),
      rerun_(options.rerun),
      status_(info_, environment_.name),
      thread_(
          [this, infer = std::move(infer)](const Observation& observation) {
            ActionChunk chunk = infer(observation);
            status_.watch(observation, chunk);
            return chunk;
          },
          options.seed, options.deadline_ms) {}

std::string Service::metadata() const { return encode_metadata(environment_.reset_pose); }

std::uint64_t Service::open_connection(const std::string& peer) {
  metrics_.count_connection();
  const std::uint64_t connection = status_.open_connection(peer);
  log_line("info", "opened", {{"connection", connection}, {"peer", peer}});
  return connection;
}

void Service::close_connection(std::uint64_t connection) {
  const std::uint64_t requests = status_.close_connection(connection);
  log_line("info", "closed", {{"connection", connection}, {"requests", requests}});
}

std::string Service::device_failure() const {
  const std::lock_guard lock(mutex_);
  return device_failure_;
}

void Service::refuse(const Message& message, ErrorKind kind, const std::string& sentence,
                     bool closes) {
  metrics_.count_error(kind);
  log_line("error", "refused",
           {{"connection", message.connection}, {"kind", name_of(kind)}, {"error", sentence}});
  message.done({valid_utf8(sentence), true, closes});
}

void Service::submit(Message message) {
  metrics_.count_request();
  Request request;
  ErrorKind kind = ErrorKind::kMessage;
  try {
    SACCADE_CHECK(!message.is_text, "message",
                  "an observation must be a binary message of msgpack, this is text");
    const Value value = decode_message(message.bytes);
    kind = ErrorKind::kObservation;
    request.input = std::make_shared<DecodedObservation>(decode_observation(environment_, value));
  } catch (const InvalidArgument& error) {
    Outcome outcome;
    outcome.error = kind;
    outcome.message = error.what();
    refuse(message, kind, outcome.message);
    return record(message, nullptr, outcome);
  }
  const double decode_ms = milliseconds_between(message.received, Clock::now());
  request.received = message.received;
  request.abandoned = message.abandoned;
  request.input->message = std::move(message.owner);
  request.input->message_bytes = message.owned_bytes;
  request.done = [this, decode_ms, message = std::move(message)](
                     std::shared_ptr<const DecodedObservation> input, Outcome outcome) {
    finish(message, decode_ms, std::move(input), outcome);
  };
  thread_.submit(std::move(request));
}

void Service::record(const Message& message, std::shared_ptr<const DecodedObservation> input,
                     const Outcome& outcome) {
  if (recorder_ == nullptr && rerun_ == nullptr) return;
  AnsweredRequest answered;
  RecordedRequest& request = answered.request;
  request.time = utc_now();
  request.error = valid_utf8(outcome.message);
  request.connection = message.connection;
  request.seed = outcome.seed;
  request.queue_ms = outcome.queue_ms;
  request.policy_ms = outcome.policy_ms;
  request.total_ms = milliseconds_between(message.received, Clock::now());
  answered.input = std::move(input);
  if (!outcome.error) {
    answered.chunk = outcome.chunk;
    request.stages = outcome.chunk.times;
  }
  if (rerun_ != nullptr) rerun_->show(answered);
  if (recorder_ != nullptr) recorder_->record(std::move(answered));
}

void Service::finish(const Message& message, double decode_ms,
                     std::shared_ptr<const DecodedObservation> input, const Outcome& outcome) {
  answer(message, decode_ms, outcome);
  record(message, std::move(input), outcome);  // nobody waits for it
}

void Service::answer(const Message& message, double decode_ms, const Outcome& outcome) {
  if (outcome.error == ErrorKind::kDevice) {
    const std::lock_guard lock(mutex_);
    device_failure_ = outcome.message;
  }
  if (outcome.error) {
    const bool closes = *outcome.error != ErrorKind::kDeadline;
    return refuse(message, *outcome.error, outcome.message, closes);
  }
  const double total_ms = milliseconds_between(message.received, Clock::now());
  metrics_.observe("decode", decode_ms);
  metrics_.observe("queue", outcome.queue_ms - decode_ms);
  for (const StageTime& time : outcome.chunk.times) metrics_.observe(time.stage, time.ms);
  metrics_.observe("policy", outcome.policy_ms);
  metrics_.observe("total", total_ms);
  status_.finish(message.connection, total_ms);
  if (log_requests_) {
    log_line("info", "request",
             {{"connection", message.connection},
              {"seed", outcome.seed},
              {"queue_ms", outcome.queue_ms - decode_ms},
              {"policy_ms", outcome.policy_ms},
              {"total_ms", total_ms}});
  }
  for (const std::string& warning : outcome.chunk.warnings) {
    log_line("warning", "request", {{"connection", message.connection}, {"warning", warning}});
  }
  const Timing timing{outcome.policy_ms, total_ms, message.previous_total_ms};
  message.done({encode_reply(outcome.chunk, timing)});
}

Page Service::page(std::string_view path) {
  constexpr std::string_view kFrames = "/frames/";
  constexpr std::string_view kSuffix = ".jpg";
  if (path == "/healthz") return {.body = "OK\n"};
  if (path == "/metrics") {
    return {.type = "text/plain; version=0.0.4; charset=utf-8",
            .body = metrics_.text(info_,
                                  {thread_.length(), status_.connections(),
                                   recorder_ ? std::optional(recorder_->counts()) : std::nullopt})};
  }
  if (path == "/") {
    return {.type = "text/html; charset=utf-8", .body = std::string(status_page())};
  }
  if (path == "/status.json") {
    return {.type = "application/json",
            .body = status_.json({metrics_.requests(), metrics_.errors(),
                                  metrics_.errors(ErrorKind::kDeadline), thread_.length()})};
  }
  if (path.starts_with(kFrames) && path.ends_with(kSuffix)) {
    path.remove_prefix(kFrames.size());
    path.remove_suffix(kSuffix.size());
    auto file = status_.frame(decode_percent(path));
    if (file) return {.type = "image/jpeg", .body = std::move(*file)};
  }
  return {404, "text/plain; charset=utf-8",
          "There are /, /status.json, /frames/CAMERA.jpg, /healthz and /metrics.\n"};
}

}  // namespace saccade::server
