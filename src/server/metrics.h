#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "saccade/policy.h"

namespace saccade::server {

/// Why a request got no actions.
enum class ErrorKind : std::uint8_t { kMessage, kObservation, kDeadline, kDevice, kInternal };

const char* name_of(ErrorKind);  // "deadline"

/// Why a request is not in the recording: it came too fast, there were too many, or the disk
/// failed.
enum class DropReason : std::uint8_t { kQueue, kLimit, kDisk };

const char* name_of(DropReason);  // "queue"

struct RecordCounts {
  std::uint64_t recorded = 0;
  std::array<std::uint64_t, 3> dropped{};  // by reason
  std::uint64_t bytes = 0;                 // on the disk

  std::uint64_t all_dropped() const { return dropped[0] + dropped[1] + dropped[2]; }
};

/// What the server counts, in Prometheus' text format. Any thread may call anything.
class Metrics {
 public:
  /// What is known from elsewhere when the numbers are asked for.
  struct Gauges {
    std::size_t queue_length = 0;
    std::size_t connections = 0;
    std::optional<RecordCounts> recording = std::nullopt;
  };

  void count_request();
  void count_connection();
  void count_error(ErrorKind);
  void observe(std::string_view stage, double ms);

  std::uint64_t requests() const;
  std::uint64_t errors() const;
  std::uint64_t errors(ErrorKind) const;

  std::string text(const PolicyInfo&, const Gauges&) const;

 private:
  static constexpr std::array<double, 15> kBucketsMs = {0.1, 0.25, 0.5, 1,   2.5, 5,    10,  20,
                                                        30,  50,   100, 250, 500, 1000, 5000};
  struct Histogram {
    std::array<std::uint64_t, kBucketsMs.size() + 1> counts{};  // the last one: above all
    double sum_ms = 0;
  };

  void write_stages(std::ostream&) const;

  mutable std::mutex mutex_;
  std::uint64_t requests_ = 0;
  std::uint64_t connections_ = 0;
  std::array<std::uint64_t, 5> errors_{};  // by kind
  std::map<std::string, Histogram, std::less<>> stages_;
};

}  // namespace saccade::server
