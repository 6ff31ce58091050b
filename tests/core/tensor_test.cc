#include "saccade/tensor.h"

#include <gtest/gtest.h>

#include "core/arena.h"
#include "saccade/error.h"

namespace saccade {
namespace {

TEST(Shape, PrintsAndCounts) {
  EXPECT_EQ((Shape{816, 2048}).str(), "[816, 2048]");
  EXPECT_EQ(Shape{}.str(), "[]");
  EXPECT_EQ(Shape{}.size(), 1);
  EXPECT_EQ((Shape{65536, 65536}).size(), std::int64_t{1} << 32);
  EXPECT_EQ((Shape{2, 3})[-1], 3);
}

TEST(Shape, RefusesNegativeAndTooManyExtents) {
  EXPECT_THROW((Shape{2, -1}), InvalidArgument);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1}), InvalidArgument);
}

TEST(Tensor, RowsIsAWindowOfTheOutermostAxis) {
  float data[24] = {};
  const Tensor t{data, {2, 3, 4}, DType::kF32, Device::kCpu};
  const Tensor window = t.rows(1, 1);
  EXPECT_EQ(window.as<float>(), data + 12);
  EXPECT_EQ(window.shape, (Shape{1, 3, 4}));
  EXPECT_EQ(t.rows(2, 0).shape, (Shape{0, 3, 4}));
  EXPECT_THROW(t.rows(1, 2), InvalidArgument);
  EXPECT_THROW(t.rows(-1, 1), InvalidArgument);
}

TEST(Tensor, ReshapeKeepsTheSize) {
  float data[6] = {};
  const Tensor t{data, {2, 3}, DType::kF32, Device::kCpu};
  EXPECT_EQ(t.reshaped({6}).shape, (Shape{6}));
  EXPECT_THROW(t.reshaped({5}), InvalidArgument);
}

TEST(Arena, OneListOfAllocationsMeasuresAndFills) {
  const auto allocate = [](Arena& arena) {
    arena.allocate({3}, DType::kU8);
    return arena.allocate({5, 7}, DType::kBf16);
  };
  Arena size = Arena::measuring();
  EXPECT_FALSE(allocate(size));
  Arena arena(size.used_bytes());
  const Tensor t = allocate(arena);
  EXPECT_EQ(arena.used_bytes(), arena.capacity_bytes());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data) % 64, 0u);
  EXPECT_EQ(t.as<bf16>()[34].bits, 0);
  EXPECT_THROW(arena.allocate({1}, DType::kU8), InvalidArgument);
}

TEST(Arena, KeepsItsAddressesWhenItIsMoved) {
  Arena arena(64);
  const Tensor t = arena.allocate({16}, DType::kF32);
  Arena other = std::move(arena);
  t.as<float>()[15] = 1;
  EXPECT_EQ(other.used_bytes(), 256u);
}

}  // namespace
}  // namespace saccade
