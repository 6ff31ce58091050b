#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

namespace saccade {

/// Copies large blocks of memory with a few threads: one core moves camera frames at a fraction of
/// what the memory can do. The caller copies too, so a helper that wakes up late costs nothing.
class CopyTeam {
 public:
  struct Copy {
    const void* from;
    void* to;
    std::size_t bytes;
  };

  /// As many helpers as the machine has cores to spare.
  CopyTeam();
  ~CopyTeam();
  CopyTeam(const CopyTeam&) = delete;
  CopyTeam& operator=(const CopyTeam&) = delete;

  /// Lets the helpers begin. Every copy of the start() before must have been finished.
  void start(std::span<const Copy>);

  /// Works until copy `index` of the last start() is done. To be called in ascending order.
  void finish(std::size_t index);

 private:
  struct Piece {
    Copy copy;
    std::size_t index;  // of the copy that it is a part of
  };

  std::optional<Piece> claim();  // under lock
  void copy(const Piece&);
  void help();

  std::mutex mutex_;
  std::condition_variable started_;
  std::condition_variable copied_;
  std::vector<Piece> pieces_;
  std::size_t claimed_ = 0;        // pieces in front of this one are taken
  std::vector<std::size_t> left_;  // pieces that each copy still waits for
  bool stopping_ = false;
  std::vector<std::thread> helpers_;
};

}  // namespace saccade
