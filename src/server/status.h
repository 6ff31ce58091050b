#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "saccade/policy.h"

namespace saccade::server {

/// The page that shows it, one self-contained HTML file (status_page.html).
std::string_view status_page();

/// What the status page shows. Any thread may call anything.
class Status {
 public:
  /// What others count.
  struct Counts {
    std::uint64_t requests = 0;
    std::uint64_t errors = 0;
    std::uint64_t deadline_misses = 0;
    std::size_t queue_length = 0;
  };

  Status(const PolicyInfo&, std::string environment);

  std::uint64_t open_connection(const std::string& peer);

  /// Returns how many requests it had that got actions.
  std::uint64_t close_connection(std::uint64_t connection);
  std::size_t connections() const;

  /// Takes a look at an inference that is done. Frames are copied twice a second, and only while
  /// somebody looks at the page.
  void watch(const Observation&, const ActionChunk&);

  void finish(std::uint64_t connection, double total_ms);

  /// All but the frames, as JSON. Whoever asks looks at the page.
  std::string json(const Counts&);

  /// The last frame that was copied of a camera as the model sees it, a JPEG file; nothing for
  /// others.
  std::optional<std::string> frame(std::string_view camera) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Connection {
    std::string peer;
    std::uint64_t requests = 0;
  };
  struct Picture {
    int height = 0;
    int width = 0;
    std::vector<std::uint8_t> pixels;
  };

  const PolicyInfo info_;
  const std::string environment_;
  const Clock::time_point start_ = Clock::now();
  mutable std::mutex mutex_;
  std::uint64_t next_connection_ = 1;
  std::map<std::uint64_t, Connection> connections_;
  std::deque<double> recent_ms_;  // the newest last
  ActionChunk chunk_;
  std::map<std::string, Picture, std::less<>> pictures_;
  std::uint64_t picture_number_ = 0;
  std::optional<Clock::time_point> looked_at_;
  std::optional<Clock::time_point> copied_at_;
};

}  // namespace saccade::server
