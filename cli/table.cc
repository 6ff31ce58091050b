#include "table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

namespace saccade::cli {
namespace {

constexpr std::size_t kGap = 2;

/// Characters of a UTF-8 text.
std::size_t length(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string Table::str(std::size_t width) const {
  std::vector<std::size_t> widths(header_.size());
  for (std::size_t c = 0; c < widths.size(); ++c) {
    widths[c] = length(header_[c]);
    for (const auto& row : rows_) widths[c] = std::max(widths[c], length(row[c]));
  }
  const auto is_left = [&](std::size_t c) {
    return std::find(left_.begin(), left_.end(), c) != left_.end();
  };
  std::string text;
  std::size_t begin = 1;
  do {
    std::vector<std::size_t> columns{0};
    std::size_t used = widths.empty() ? 0 : widths[0];
    while (begin < widths.size() &&
           (columns.size() == 1 || width == 0 || used + kGap + widths[begin] <= width)) {
      used += kGap + widths[begin];
      columns.push_back(begin++);
    }
    const auto line = [&](const std::vector<std::string>& row) {
      std::string cells;
      for (const std::size_t c : columns) {
        const std::string padding(widths[c] - length(row[c]), ' ');
        if (c > 0) cells.append(kGap, ' ');
        cells += is_left(c) ? row[c] + padding : padding + row[c];
      }
      cells.erase(cells.find_last_not_of(' ') + 1);
      text += cells + "\n";
    };
    if (!text.empty()) text += "\n";
    line(header_);
    for (const auto& row : rows_) line(row);
  } while (begin < widths.size());
  return text;
}

std::size_t terminal_width() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

}  // namespace saccade::cli
