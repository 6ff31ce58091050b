#include "server/child_process.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <string_view>
#include <thread>

#include "io/temp_files.h"

namespace saccade::server {
namespace {

using std::chrono::seconds;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

class ChildProcessTest : public testing::Test {
 protected:
  ChildProcessTest() { std::signal(SIGPIPE, SIG_IGN); }  // as the program does
};

TEST_F(ChildProcessTest, ReadsUntilItsInputEnds) {
  ChildProcess child("test",
                     {"sh", "-c", "echo ready; read word; echo got $word; cat > /dev/null"});
  EXPECT_EQ(child.read_line(), "ready");
  EXPECT_TRUE(child.write(bytes_of("word\n")));
  EXPECT_EQ(child.read_line(), "got word");
  EXPECT_TRUE(child.finish(seconds(20)));
  EXPECT_EQ(child.read_line(), "");
}

TEST_F(ChildProcessTest, OneThatHasEndedTakesNothing) {
  ChildProcess child("test", {"true"});
  EXPECT_EQ(child.read_line(), "");
  while (child.write(bytes_of("word"))) std::this_thread::yield();  // the pipe closes in a moment
}

TEST_F(ChildProcessTest, OneThatDoesNotEndIsKilled) {
  ChildProcess child("test", {"sleep", "1000"});
  EXPECT_FALSE(child.finish(std::chrono::milliseconds(30)));
  child.kill();
  EXPECT_TRUE(child.finish(seconds(20)));
}

TEST_F(ChildProcessTest, AKillSetsAWriterFree) {
  ChildProcess child("test", {"sleep", "1000"});
  const std::string more_than_a_pipe(std::size_t{1} << 22, 'x');
  std::thread killer([&] { child.kill(); });
  EXPECT_FALSE(child.write(bytes_of(more_than_a_pipe)));
  killer.join();
}

TEST_F(ChildProcessTest, AProgramThatIsNotThereIsRefusedByItsName) {
  EXPECT_REFUSED(ChildProcess("--rerun", {"no-such-python"}), "no-such-python");
}

}  // namespace
}  // namespace saccade::server
