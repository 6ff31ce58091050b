#include "server/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "core/check.h"

extern char** environ;

namespace saccade::server {
namespace {

/// A few pieces of a frame at a time: with the 64 KiB of a fresh pipe, the two processes would
/// mostly wait for each other.
constexpr int kPipeBytes = 1 << 20;
constexpr auto kBetweenLooks = std::chrono::milliseconds(10);

struct Pipe {
  explicit Pipe(const std::string& who) {
    int ends[2];
    SACCADE_CHECK(::pipe2(ends, O_CLOEXEC) == 0, who, "cannot make a pipe: ", std::strerror(errno));
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    for (int end : {read, write}) {
      if (end >= 0) ::close(end);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int read = -1;
  int write = -1;
};

/// Returns an error number.
int spawn(const std::vector<std::string>& command, const Pipe& input, const Pipe& output,
          pid_t& process) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.read, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.write, STDOUT_FILENO);
  const int error =
      ::posix_spawnp(&process, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

}  // namespace

ChildProcess::ChildProcess(const std::string& who, const std::vector<std::string>& command) {
  Pipe input(who);
  Pipe output(who);
  const int error = spawn(command, input, output, process_);
  SACCADE_CHECK(error == 0, who, "cannot start ", command[0], ": ", std::strerror(error));
  input_ = std::exchange(input.write, -1);
  output_ = std::exchange(output.read, -1);
  ::fcntl(input_, F_SETPIPE_SZ, kPipeBytes);  // a smaller pipe is slower, and does as well
}

ChildProcess::~ChildProcess() {
  kill();
  if (process_ > 0) ::waitpid(process_, nullptr, 0);
  if (input_ >= 0) ::close(input_);
  ::close(output_);
}

std::string ChildProcess::read_line() {
  std::string line;
  for (char c = 0;;) {
    const ssize_t count = ::read(output_, &c, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0 || c == '\n') return line;
    line.push_back(c);
  }
}

bool ChildProcess::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(input_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes = bytes.subspan(std::size_t(count));
  }
  return true;
}

bool ChildProcess::finish(std::chrono::milliseconds patience) {
  if (input_ >= 0) ::close(std::exchange(input_, -1));
  for (auto waited = std::chrono::milliseconds(0); !has_ended(); waited += kBetweenLooks) {
    if (waited >= patience) return false;
    std::this_thread::sleep_for(kBetweenLooks);
  }
  return true;
}

bool ChildProcess::has_ended() {
  const std::lock_guard lock(mutex_);
  if (process_ > 0 && ::waitpid(process_, nullptr, WNOHANG) != 0) process_ = -1;
  return process_ < 0;
}

void ChildProcess::kill() {
  const std::lock_guard lock(mutex_);
  if (process_ > 0) ::kill(process_, SIGKILL);
}

}  // namespace saccade::server
