#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "saccade/policy.h"
#include "server/environment.h"
#include "server/inference_thread.h"
#include "server/metrics.h"
#include "server/recorder.h"
#include "server/rerun_feed.h"
#include "server/status.h"

namespace saccade::server {

struct ServiceOptions {
  std::uint64_t seed = 0;  // of the first request's noise
  std::optional<double> deadline_ms = std::nullopt;
  bool log_requests = false;
  Recorder* recorder = nullptr;  // has started, and outlives the service
  RerunFeed* rerun = nullptr;    // the same
};

/// What a client is sent: a binary message with actions, or a text that names an error.
struct Reply {
  std::string payload;
  bool is_error = false;
  bool closes = false;  // the connection
};

struct Message {
  std::uint64_t connection = 0;
  Bytes bytes;
  std::shared_ptr<const void> owner;  // keeps the bytes; null where they outlive the service
  std::size_t owned_bytes = 0;        // memory of the owner
  bool is_text = false;               // of the kind of frame that observations do not have
  Clock::time_point received;
  std::optional<double> previous_total_ms;
  std::shared_ptr<const std::atomic<bool>> abandoned;
  std::function<void(Reply)> done;  // called once, on any thread, or dropped
};

/// A plain answer to an HTTP request.
struct Page {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

/// The server without its network: messages to replies, paths to pages.
class Service {
 public:
  Service(PolicyInfo, Environment, InferenceThread::Infer, const ServiceOptions&);

  /// The first message of every connection.
  std::string metadata() const;

  std::uint64_t open_connection(const std::string& peer);
  void close_connection(std::uint64_t connection);

  /// Decodes at once; the inference follows on its thread.
  void submit(Message);

  /// Of a path such as "/metrics".
  Page page(std::string_view path);

  /// The sentence of a device that failed, which ends the service; else empty.
  std::string device_failure() const;

 private:
  void finish(const Message&, double decode_ms, std::shared_ptr<const DecodedObservation>,
              const Outcome&);
  void answer(const Message&, double decode_ms, const Outcome&);
  void record(const Message&, std::shared_ptr<const DecodedObservation>, const Outcome&);
  void refuse(const Message&, ErrorKind, const std::string& sentence, bool closes = true);

  PolicyInfo info_;
  Environment environment_;
  bool log_requests_;
  Recorder* recorder_;
  RerunFeed* rerun_;
  Metrics metrics_;
  Status status_;
  mutable std::mutex mutex_;
  std::string device_failure_;
  InferenceThread thread_;  // the last member: it uses the others
};

}  // namespace saccade::server
