#include "server/recorder.h"

#include <future>
#include <limits>
#include <thread>

#include "io/temp_files.h"

namespace saccade::server {
namespace {

using io::TempDirectory;

/// A request with an observation of one pixel, and its actions.
AnsweredRequest answered(const std::string& camera = "front") {
  const auto input = std::make_shared<DecodedObservation>();
  input->pixels = {{1, 2, 3}};
  Observation& observation = input->observation;
  observation.frames[camera] = {input->pixels[0].data(), 1, 1};
  observation.state = {0.5, -0.0};
  observation.prompt = "say \"\n\"";
  observation.seed = std::numeric_limits<std::uint64_t>::max();
  observation.realtime = RealTime{.previous = {1, 2, 3, 4},
                                  .rows = 2,
                                  .inference_delay = 1,
                                  .execution_horizon = 2,
                                  .schedule = Schedule::kOnes,
                                  .max_weight = 0.1};
  AnsweredRequest made;
  made.request.connection = 3;
  made.request.seed = observation.seed;
  made.input = input;
  made.chunk.actions = 1;
  made.chunk.action_dim = 2;
  made.chunk.values = {1, -0.0f};
  return made;
}

PolicyInfo info() {
  PolicyInfo info;
  info.precision = Precisions(Precision::kBf16, Precision::kBf16, Precision::kFp8);
  return info;
}

LoadOptions options() {
  LoadOptions load;
  load.mode = Mode::kLerobot;
  load.steps = 7;
  load.openpi_config = "pi05_droid";
  load.tokenizer = "/tok/enizer";
  return load;
}

TEST(Recorder, WhatIsReadIsWhatWasRecorded) {
  const TempDirectory folder;
  {
    Recorder recorder({.directory = folder.path()});
    recorder.start(index_header("/check/../point", options(), info()));
    recorder.record(answered());
    AnsweredRequest refused;
    refused.request.error = "no \xff sense";
    recorder.record(refused);
  }
  const Recording recording = read_recording(folder.path());
  EXPECT_EQ(recording.policy.checkpoint, "/point");
  const LoadOptions& load = recording.policy.load;
  EXPECT_EQ(load.mode, Mode::kLerobot);
  EXPECT_EQ(load.model, std::nullopt);
  EXPECT_EQ(load.device, Device::kCpu);
  EXPECT_EQ(load.precision, info().precision);
  EXPECT_EQ(load.steps, 7);
  EXPECT_EQ(load.openpi_config, "pi05_droid");
  EXPECT_EQ(load.tokenizer, "/tok/enizer");
  ASSERT_EQ(recording.requests.size(), 2u);
  EXPECT_TRUE(recording.requests[1].file.empty());
  EXPECT_FALSE(recording.requests[1].error.empty());
  EXPECT_EQ(recording.requests[0].connection, 3u);

  const AnsweredRequest given = answered();
  const Observation& wanted = given.input->observation;
  const RecordedReply reply = read_reply(folder.path(), recording.requests[0]);
  const Observation& read = reply.stored.observation;
  EXPECT_EQ(read.seed, wanted.seed);
  EXPECT_EQ(read.state, wanted.state);
  EXPECT_EQ(read.prompt, wanted.prompt);
  ASSERT_EQ(read.frames.size(), 1u);
  EXPECT_EQ(read.frames.at("front").pixels[2], 3);
  ASSERT_TRUE(read.realtime);
  EXPECT_EQ(read.realtime->previous, wanted.realtime->previous);
  EXPECT_EQ(read.realtime->rows, 2);
  EXPECT_EQ(read.realtime->inference_delay, 1);
  EXPECT_EQ(read.realtime->execution_horizon, 2);
  EXPECT_EQ(read.realtime->schedule, Schedule::kOnes);
  EXPECT_EQ(read.realtime->max_weight, 0.1);
  EXPECT_EQ(reply.values, given.chunk.values);
  EXPECT_EQ(reply.action_dim, 2);
}

TEST(Recorder, WhatDoesNotFitIntoTheQueueIsDroppedAndCounted) {
  const TempDirectory folder;
  {
    Recorder recorder({.directory = folder.path(), .queue = {.bytes = 100}});
    recorder.start("{}\n");
    recorder.record(answered());
    EXPECT_EQ(recorder.counts().dropped[std::size_t(DropReason::kQueue)], 1u);
    EXPECT_EQ(recorder.counts().recorded, 0u);
  }
  EXPECT_EQ(io::read_file(folder.path() / kIndexName), "{}\n");
}

TEST(Recorder, ADirectoryThatGoesAwayIsCounted) {
  const TempDirectory folder;
  Recorder recorder({.directory = folder.path() / "gone"});
  recorder.start("{}\n");
  std::filesystem::remove_all(folder.path() / "gone");
  recorder.record(answered());
  while (recorder.counts().all_dropped() == 0) std::this_thread::yield();
  EXPECT_EQ(recorder.counts().dropped[std::size_t(DropReason::kDisk)], 1u);
}

TEST(Recorder, ACameraWithoutANameForAFileIsCounted) {
  const TempDirectory folder;
  Recorder recorder({.directory = folder.path()});
  recorder.start("{}\n");
  recorder.record(answered("\xff"));
  recorder.record(answered());
  while (recorder.counts().recorded == 0) std::this_thread::yield();
  EXPECT_EQ(recorder.counts().dropped[std::size_t(DropReason::kDisk)], 1u);
}

TEST(AnswerQueue, ARequestIsSharedAndLeavesNothingBehind) {
  const AnsweredRequest given = answered();
  const DecodedObservation* seen = nullptr;
  {
    AnswerQueue queue({}, [&](AnsweredRequest& request) { seen = request.input.get(); });
    EXPECT_TRUE(queue.push(given));
  }
  EXPECT_EQ(seen, given.input.get());
  EXPECT_EQ(given.input.use_count(), 1);
}

TEST(AnswerQueue, WhatIsHandledCountsUntilItIsDone) {
  std::promise<void> go;
  int handled = 0;
  {
    AnswerQueue queue({.requests = 2}, [&, gone = go.get_future().share()](AnsweredRequest&) {
      gone.wait();
      ++handled;
    });
    EXPECT_TRUE(queue.push(answered()));
    EXPECT_TRUE(queue.push(answered()));
    EXPECT_FALSE(queue.push(answered()));
    go.set_value();
    while (!queue.push(answered())) std::this_thread::yield();
  }
  EXPECT_EQ(handled, 3);
}

TEST(Recorder, OneThatNeverStartsLeavesNothing) {
  const TempDirectory folder;
  { const Recorder recorder({.directory = folder.path()}); }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  const auto file = folder.write("file", "");
  EXPECT_REFUSED(Recorder({.directory = file}), "[--record]");
}

}  // namespace
}  // namespace saccade::server
