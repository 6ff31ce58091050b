#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace saccade::server {

/// A program that reads what is written to its standard input. It must end where that ends, so that
/// it never outlives this process, however this one ends.
class ChildProcess {
 public:
  /// Starts a program that is found on the PATH, or fails. `who` names it in messages.
  ChildProcess(const std::string& who, const std::vector<std::string>& command);

  /// Kills it if it still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Waits for the next line on its standard output; empty once that has ended.
  std::string read_line();

  /// Waits until it has taken all. False: it has ended, or does not read any more.
  bool write(std::span<const std::byte>);

  /// Ends its input. Returns whether it ends by itself in time.
  bool finish(std::chrono::milliseconds patience);

  /// Any thread may, also while another writes.
  void kill();

 private:
  bool has_ended();

  std::mutex mutex_;
  pid_t process_ = -1;  // -1: has ended, and its number may be another's
  int input_ = -1;      // file descriptors of our ends of the pipes
  int output_ = -1;
};

}  // namespace saccade::server
