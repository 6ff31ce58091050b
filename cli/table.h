#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace saccade::cli {

/// Text in columns: the first is aligned to the left, the others to the right unless told.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}

  /// As many cells as the header has.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  /// Aligns a column to the left.
  void left(std::size_t column) { left_.push_back(column); }

  /// Columns that do not fit into `width` characters follow in further blocks, each with the
  /// first column again. 0 is no limit.
  std::string str(std::size_t width = 0) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> left_{0};
};

/// Characters in a line of the terminal, or 0 when the standard output is none.
std::size_t terminal_width();

}  // namespace saccade::cli
