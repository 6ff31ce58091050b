#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "output.h"

namespace saccade::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kInterval = std::chrono::milliseconds(100);
constexpr std::uint64_t kWidth = 30;

/// Draws at most ten times a second, and leaves an empty line behind.
class Bar {
 public:
  ~Bar() { erase(); }

  void update(std::string_view what, std::uint64_t done, std::uint64_t total) {
    if (total == 0 || done >= total) return erase();
    const auto now = Clock::now();
    if (now - drawn_ < kInterval) return;
    drawn_ = now;
    visible_ = true;
    const double fraction = static_cast<double>(done) / static_cast<double>(total);
    const auto filled = static_cast<std::size_t>(fraction * kWidth);
    fmt::print(stderr, "\r\x1b[K{} [{}{}] {:3.0f}% of {}", what, std::string(filled, '#'),
               std::string(kWidth - filled, '.'), 100 * fraction, format_bytes(total));
    std::fflush(stderr);
  }

 private:
  void erase() {
    if (visible_) std::fputs("\r\x1b[K", stderr);
    visible_ = false;
  }

  Clock::time_point drawn_;
  bool visible_ = false;
};

}  // namespace

Progress progress_bar() {
  if (isatty(STDERR_FILENO) == 0) return {};
  return [bar = std::make_shared<Bar>()](std::string_view what, std::uint64_t done,
                                         std::uint64_t total) { bar->update(what, done, total); };
}

}  // namespace saccade::cli
