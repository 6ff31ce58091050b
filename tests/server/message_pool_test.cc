#include "server/message_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <thread>

namespace saccade::server {
namespace {

constexpr std::size_t kFrame = 640 * 480 * 3;

TEST(MessagePool, LargeMessagesBeginHalfAPageBehindAPage) {
  MessagePool pool;
  const auto message = pool.take();
  const auto memory = message->prepare(kFrame);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % 4096, 2048u);
  std::memset(memory.data(), 1, memory.size());
}

TEST(MessagePool, AMessageGrowsFromSmallToLarge) {
  MessagePool pool;
  const auto message = pool.take();
  for (std::size_t size = 0; size < kFrame; size += 1000) {
    std::memset(message->prepare(1000).data(), int(size / 1000 % 251), 1000);
    message->commit(1000);
  }
  const auto* bytes = static_cast<const unsigned char*>(message->cdata().data());
  for (std::size_t i = 0; i < message->size(); ++i) ASSERT_EQ(bytes[i], i / 1000 % 251) << i;
}

TEST(MessagePool, WhatIsDroppedIsTakenAgainEmpty) {
  MessagePool pool;
  auto held = pool.take();
  held->commit(held->prepare(kFrame).size());
  const MessageBuffer* first = held.get();
  auto other = pool.take();
  EXPECT_NE(other.get(), first);  // while somebody holds it
  std::thread([&] { held.reset(); }).join();
  other = pool.take();
  EXPECT_EQ(other.get(), first);
  EXPECT_EQ(other->size(), 0u);
  EXPECT_GE(other->capacity(), kFrame);
}

TEST(MessagePool, ABufferMayOutliveIt) {
  std::shared_ptr<MessageBuffer> held;
  {
    MessagePool pool;
    held = pool.take();
    held->commit(held->prepare(kFrame).size());
  }
  EXPECT_EQ(held->size(), kFrame);
}

}  // namespace
}  // namespace saccade::server
