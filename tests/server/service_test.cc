#include "server/service.h"

#include <cmath>
#include <future>
#include <thread>

#include "server/access.h"
#include "server/log.h"
#include "server/messages.h"
#include "server/msgpack.h"

namespace saccade::server {
namespace {

using std::chrono::milliseconds;

/// A policy that answers with the seed and the first number of the state, in its own time.
struct FakePolicy {
  ActionChunk operator()(const Observation& observation) const {
    const double first = observation.state.at(0);
    throw_for(first);
    std::this_thread::sleep_for(milliseconds(sleep_ms));
    ActionChunk chunk;
    chunk.actions = 1;
    chunk.action_dim = 2;
    chunk.values = {float(observation.seed), float(first)};
    chunk.times = {{"steps", 1.0}};
    return chunk;
  }

  static void throw_for(double first) {
    if (first == -1) throw InvalidArgument("[infer] no such state");
    if (first == -2) throw DeviceError("[cuda] the GPU is gone");
    if (first == -3) throw std::runtime_error("surprise");
  }

  int sleep_ms = 0;
};

PolicyInfo info() {
  PolicyInfo info;
  info.cameras = {"front"};
  return info;
}

struct Client {
  explicit Client(Service& service) : service(service), id(service.open_connection("test")) {}
  ~Client() { service.close_connection(id); }

  std::future<Reply> ask(double state, bool is_text = false) {
    Packed packed;
    packed.map(2).text("state").list(1).number(state);
    packed.text("front").array<std::uint8_t>("|u1", {1, 1, 3}, {1, 2, 3});
    const auto message = std::make_shared<const std::string>(packed.str());
    const auto promise = std::make_shared<std::promise<Reply>>();
    service.submit({id, bytes_of(*message), message, message->size(), is_text, Clock::now(),
                    std::nullopt, abandoned,
                    [promise](Reply reply) { promise->set_value(std::move(reply)); }});
    return promise->get_future();
  }

  Service& service;
  std::uint64_t id;
  std::shared_ptr<std::atomic<bool>> abandoned = std::make_shared<std::atomic<bool>>(false);
};

std::vector<double> actions(const Reply& reply) {
  EXPECT_FALSE(reply.is_error) << reply.payload;
  const Value value = decode_message(bytes_of(reply.payload));
  const auto* array = find(*value.as<Map>(), "actions")->as<NdArray>();
  EXPECT_EQ(array->dtype.item_bytes, 8u);
  return {float_at(*array, 0), float_at(*array, 1)};
}

TEST(Service, RequestsGetSeedsInTheirOrderAndErrorsOfMessagesGetNone) {
  Service service(info(), make_environment("", "", info()), FakePolicy{}, {.seed = 40});
  Client client(service);
  EXPECT_EQ(actions(client.ask(7).get()), (std::vector<double>{40, 7}));
  const Reply text = client.ask(7, true).get();
  EXPECT_TRUE(text.is_error && text.closes);
  EXPECT_NE(text.payload.find("this is text"), std::string::npos);
  const Reply nan = client.ask(std::nan("")).get();
  EXPECT_TRUE(nan.is_error && nan.closes);
  EXPECT_NE(nan.payload.find("'state'"), std::string::npos);
  EXPECT_EQ(actions(client.ask(8).get()), (std::vector<double>{41, 8}));
}

TEST(Service, WhatThePolicyThrowsIsAReply) {
  Service service(info(), make_environment("", "", info()), FakePolicy{}, {});
  Client client(service);
  EXPECT_EQ(client.ask(-1).get().payload, "[infer] no such state");
  EXPECT_EQ(client.ask(-3).get().payload, "surprise");
  EXPECT_TRUE(service.device_failure().empty());
  EXPECT_EQ(client.ask(-2).get().payload, "[cuda] the GPU is gone");
  EXPECT_EQ(service.device_failure(), "[cuda] the GPU is gone");
  const std::string metrics = service.page("/metrics").body;
  for (const char* line :
       {"saccade_errors_total{kind=\"observation\"} 1\n",
        "saccade_errors_total{kind=\"device\"} 1\n", "saccade_errors_total{kind=\"internal\"} 1\n",
        "saccade_requests_total 3\n"}) {
    EXPECT_NE(metrics.find(line), std::string::npos) << line << metrics;
  }
}

TEST(Service, AMissedDeadlineIsAnErrorThatKeepsTheConnection) {
  Service service(info(), make_environment("", "", info()), FakePolicy{40}, {.deadline_ms = 60});
  Client first(service);
  Client second(service);
  std::future<Reply> in_time = first.ask(1);
  std::future<Reply> late = second.ask(2);  // begins after 40 ms, is done after 80
  EXPECT_FALSE(in_time.get().is_error);
  const Reply reply = late.get();
  EXPECT_TRUE(reply.is_error && !reply.closes);
  EXPECT_NE(reply.payload.find("--deadline-ms"), std::string::npos) << reply.payload;
  EXPECT_NE(service.page("/metrics").body.find("saccade_deadline_misses_total 1\n"),
            std::string::npos);
}

TEST(Service, ARequestWhoseDeadlineHasPassedDoesNotRun) {
  std::atomic<int> runs = 0;
  Service service(info(), make_environment("", "", info()),
                  [&](const Observation& observation) {
                    ++runs;
                    return FakePolicy{50}(observation);
                  },
                  {.deadline_ms = 20});
  Client first(service);
  Client second(service);
  std::future<Reply> a = first.ask(1);
  std::future<Reply> b = second.ask(2);
  EXPECT_TRUE(a.get().is_error);
  EXPECT_TRUE(b.get().is_error);
  EXPECT_EQ(runs, 1);
}

TEST(Service, PagesAnswerDuringInferenceAndARequestOfALostClientDoesNotRun) {
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future().share();
  std::atomic<int> runs = 0;
  Service service(info(), make_environment("", "", info()),
                  [&, gate](const Observation& observation) {
                    ++runs;
                    gate.wait();
                    return FakePolicy{}(observation);
                  },
                  {});
  Client staying(service);
  Client leaving(service);
  std::future<Reply> kept = staying.ask(1);
  std::future<Reply> dropped = leaving.ask(2);
  while (runs == 0) std::this_thread::yield();
  EXPECT_EQ(service.page("/healthz").body, "OK\n");
  const std::string metrics = service.page("/metrics").body;
  EXPECT_NE(metrics.find("saccade_queue_length 1\n"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("saccade_connections 2\n"), std::string::npos) << metrics;
  *leaving.abandoned = true;
  go.set_value();
  EXPECT_EQ(actions(kept.get())[1], 1);
  EXPECT_THROW(dropped.get(), std::future_error);  // its promise was dropped
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(service.page("/nowhere").status, 404);
}

TEST(Access, ComparesTheWholeHeader) {
  const Access access("se cret");
  EXPECT_TRUE(access.allows("Api-Key se cret"));
  EXPECT_TRUE(access.allows("Basic OnNlIGNyZXQ="));  // base64 of ":se cret"
  for (const char* bad : {"", "Api-Key", "Api-Key se cre", "Api-Key se cret ", "api-key se cret",
                          "Bearer se cret", "Basic OnNlIGNyZXQ"}) {
    EXPECT_FALSE(access.allows(bad)) << bad;
  }
  EXPECT_TRUE(Access("").allows(""));
  EXPECT_EQ(check_api_key("key\n", "KEY"), "key");
  EXPECT_REFUSED(check_api_key("\n", "KEY"), "empty");
  EXPECT_REFUSED(check_api_key("two words", "KEY"), "[KEY]");
}

TEST(Log, ALineIsOneLineWhateverAClientSends) {
  EXPECT_EQ(format_line("info", "opened", {{"connection", 3}, {"peer", "[::1]:80"}}),
            "info opened connection=3 peer=[::1]:80");
  EXPECT_EQ(format_line("error", "refused", {{"error", "a\n\"b\" c=d\xff"}, {"empty", ""}}),
            "error refused error=\"a 'b' c=d?\" empty=\"\"");
}

}  // namespace
}  // namespace saccade::server
