#include "runtime/pack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>

#include "core/bf16.h"
#include "core/f16.h"
#include "saccade/error.h"

namespace saccade {
namespace {

using io::FileDType;

template <typename T>
io::WeightView view_of(const std::vector<T>& values, FileDType dtype,
                       std::vector<std::int64_t> extents, std::vector<std::int64_t> strides) {
  return {reinterpret_cast<const std::byte*>(values.data()), dtype, std::move(extents),
          std::move(strides)};
}

std::vector<float> ramp(int count) {
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(float(i));
  return values;
}

std::vector<float> packed(const io::WeightView& view, ColumnRange columns, float added, int count) {
  std::vector<float> out(std::size_t(count), std::nanf(""));
  EXPECT_TRUE(pack(view, columns, added, {out.data(), {count}, DType::kF32, Device::kCpu}));
  return out;
}

TEST(Pack, TransposesThroughStrides) {
  constexpr int kRows = 70, kColumns = 41;  // more than a tile, and ragged
  const std::vector<float> values = ramp(kRows * kColumns);
  const auto out = packed(view_of(values, FileDType::kF32, {kColumns, kRows}, {1, kColumns}), {}, 0,
                          kRows * kColumns);
  for (int c = 0; c < kColumns; ++c) {
    for (int r = 0; r < kRows; ++r) {
      ASSERT_EQ(out[std::size_t(c * kRows + r)], float(r * kColumns + c));
    }
  }
}

TEST(Pack, SharesLargeTensorsAmongThreads) {
  constexpr int kRows = 2051, kColumns = 1027;  // above the threads' share, and ragged
  std::vector<float> values = ramp(kRows * kColumns);
  const auto view = view_of(values, FileDType::kF32, {kRows, kColumns}, {1, kRows});
  const auto out = packed(view, {}, 0, kRows * kColumns);
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) {
      ASSERT_EQ(out[std::size_t(r * kColumns + c)], float(c * kRows + r));
    }
  }
  std::vector<float> scratch(values.size());
  const Tensor tensor{scratch.data(), {kRows, kColumns}, DType::kF32, Device::kCpu};
  for (std::size_t bad : {std::size_t{0}, values.size() / 2, values.size() - 1}) {
    const float kept = std::exchange(values[bad], std::nanf(""));
    EXPECT_FALSE(pack(view, {}, 0, tensor)) << bad;
    values[bad] = kept;
  }
}

TEST(Pack, PermutesFourAxes) {
  const std::vector<float> values = ramp(2 * 3 * 4 * 5);  // [y, x, in, out]
  const auto out =
      packed(view_of(values, FileDType::kF32, {5, 4, 2, 3}, {1, 5, 60, 20}), {}, 0, 120);
  EXPECT_EQ(out[0], 0);
  EXPECT_EQ(out[1], 20);  // next x
  EXPECT_EQ(out[3], 60);  // next y
  EXPECT_EQ(out[6], 5);   // next in
  EXPECT_EQ(out[24], 1);  // next out
  EXPECT_EQ(out[119], float(1 * 60 + 2 * 20 + 3 * 5 + 4));
}

TEST(Pack, TakesARangeOfColumnsAndAdds) {
  const std::vector<float> values = ramp(12);
  const auto out = packed(view_of(values, FileDType::kF32, {3, 4}, {4, 1}), {1, 2}, 1, 6);
  EXPECT_EQ(out, (std::vector<float>{2, 3, 6, 7, 10, 11}));
}

TEST(Pack, ConvertsEveryFileType) {
  const std::vector<double> f64{1.5, -2.25};
  EXPECT_EQ(packed(view_of(f64, FileDType::kF64, {2}, {1}), {}, 0, 2),
            (std::vector<float>{1.5f, -2.25f}));
  const std::vector<bf16> half{from_float<bf16>(1.5f), from_float<bf16>(-2.25f)};
  EXPECT_EQ(packed(view_of(half, FileDType::kBf16, {2}, {1}), {}, 0, 2),
            (std::vector<float>{1.5f, -2.25f}));
  const std::vector<f16> f16s{{0x3c00}, {0x0001}};
  EXPECT_EQ(packed(view_of(f16s, FileDType::kF16, {2}, {1}), {}, 0, 2),
            (std::vector<float>{1.0f, 0x1p-24f}));
}

TEST(Pack, RoundsOnceToBf16AfterTheSum) {
  const std::vector<float> values{0x1p-9f, 0x1p-8f};
  std::vector<bf16> out(2);
  EXPECT_TRUE(pack(view_of(values, FileDType::kF32, {2}, {1}), {}, 1,
                   {out.data(), {2}, DType::kBf16, Device::kCpu}));
  EXPECT_EQ(to_float(out[0]), 1.0f);
  EXPECT_EQ(to_float(out[1]), 1.0f);
}

TEST(Pack, SeesWhatIsNotFinite) {
  for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values = ramp(100);
    values[99] = bad;
    std::vector<float> out(100);
    EXPECT_FALSE(pack(view_of(values, FileDType::kF32, {100}, {1}), {}, 0,
                      {out.data(), {100}, DType::kF32, Device::kCpu}));
  }
  const std::vector<bf16> half{bf16{0x7f80}, bf16{0}};
  std::vector<bf16> out(2);
  EXPECT_FALSE(pack(view_of(half, FileDType::kBf16, {2}, {1}), {}, 0,
                    {out.data(), {2}, DType::kBf16, Device::kCpu}));
}

TEST(Pack, RefusesIntegers) {
  const std::vector<std::int32_t> values{1};
  float out = 0;
  EXPECT_THROW(pack(view_of(values, FileDType::kI32, {1}, {1}), {}, 0,
                    {&out, {1}, DType::kF32, Device::kCpu}),
               InvalidArgument);
}

}  // namespace
}  // namespace saccade
