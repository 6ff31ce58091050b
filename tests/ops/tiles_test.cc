#include "ops/gemm/tiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <vector>

namespace saccade::ops::detail {
namespace {

constexpr int kMultiprocessors = 132;
constexpr auto kBf16 = DType::kBf16;
constexpr auto kF16 = DType::kF16;

TileProblem linear(int m, int n, int k, DType dtype = kBf16) {
  return {Product::kLinear, dtype, m, n, k, INT_MAX};
}

TileProblem geglu(int m, int n, int k) { return {Product::kGeglu, kBf16, m, n, k, INT_MAX}; }

TileProblem qkv(int m, int n, int k) { return {Product::kQkv, kBf16, m, n, k, INT_MAX}; }

/// The products of Pi0 and Pi0.5 that have many rows, and some that nobody has.
std::vector<TileProblem> problems() {
  std::vector<TileProblem> all;
  for (int m : {320, 512, 576, 640, 704, 768, 832, 896, 968, 1, 63, 65, 200, 3000}) {
    all.push_back(qkv(m, 2560, 2048));
    all.push_back(qkv(m, 512, 2048));
    all.push_back(linear(m, 2048, 2048));
    all.push_back(geglu(m, 32768, 2048));
    all.push_back(linear(m, 2048, 16384));
  }
  for (int m : {256, 512, 768, 2, 129}) {
    for (int n : {3456, 1152, 4304, 2048}) all.push_back(linear(m, n, 1152, kF16));
    all.push_back(linear(m, 1152, 4304, kF16));
  }
  for (int n : {2, 30, 64, 66, 1000}) {
    for (int k : {8, 64, 72, 128}) all.push_back(linear(100, n, k));
  }
  return all;
}

std::vector<std::span<const GemmTile>> lists() {
  return {kLinearBf16Tiles, kLinearF16Tiles, kGegluBf16Tiles, kQkvBf16Tiles};
}

TEST(Tiles, AreOnesThatTheKernelCanHave) {
  for (const auto list : lists()) {
    for (const GemmTile& tile : list) {
      SCOPED_TRACE(testing::Message() << tile.row_groups << " x " << tile.columns);
      EXPECT_EQ(std::ranges::count(list, tile), 1);
      EXPECT_GE(tile.row_groups, 1);
      EXPECT_LE(tile.row_groups, 3);
      EXPECT_GE(tile.columns, 64);  // NormOutputs promises one part of squares for 64 columns.
      EXPECT_LE(tile.columns, tile.row_groups == 3 ? 192 : 256);
      EXPECT_EQ(tile.columns % 16, 0);
    }
  }
  for (const GemmTile& tile : kGegluBf16Tiles) EXPECT_NE(tile.pair, Pair::kSplitK);
  for (const GemmTile& tile : kQkvBf16Tiles) EXPECT_EQ(tile.columns % 64, 0);
}

TEST(ChooseTile, CoversTheProductOnce) {
  for (const TileProblem& problem : problems()) {
    const auto choice = choose_tile(problem, kMultiprocessors);
    ASSERT_TRUE(choice);
    SCOPED_TRACE(describe(*choice));
    const GemmTile& tile = choice->tile;
    EXPECT_EQ(compiled_tiles(problem.product, problem.dtype)[choice->index], tile);
    EXPECT_GE(choice->row_tiles * tile.rows(), problem.m);
    EXPECT_LT((choice->row_tiles - 1) * tile.rows(), problem.m);
    EXPECT_GE(choice->column_tiles * tile.columns, problem.n);
    EXPECT_LT((choice->column_tiles - 1) * tile.columns, problem.n);
    const int columns_a_unit = tile.pair == Pair::kShareX ? 2 : 1;
    EXPECT_GE(choice->units * columns_a_unit, choice->row_tiles * choice->column_tiles);
    EXPECT_LE(choice->units * columns_a_unit, choice->row_tiles * (choice->column_tiles + 1));
  }
}

TEST(ChooseTile, StartsWholeClustersThatAllHaveWork) {
  for (const TileProblem& problem : problems()) {
    for (int multiprocessors : {1, 2, 3, 78, 131, 132}) {
      const auto choice = choose_tile(problem, multiprocessors);
      ASSERT_TRUE(choice);
      SCOPED_TRACE(describe(*choice));
      const int cluster = choice->tile.cluster();
      EXPECT_EQ(choice->ctas % cluster, 0);
      EXPECT_LE(choice->ctas / cluster, choice->units);
      if (choice->tile.pair == Pair::kSplitK) {
        EXPECT_EQ(choice->ctas, 2 * choice->units);  // A CTA can exchange the sums of one tile.
      } else {
        EXPECT_LE(choice->ctas, std::max(multiprocessors, cluster));
        EXPECT_GE(choice->ctas / cluster * choice->rounds, choice->units);
      }
    }
  }
}

TEST(ChooseTile, TakesTheLowestEstimate) {
  for (const TileProblem& problem : problems()) {
    const auto choice = choose_tile(problem, kMultiprocessors);
    ASSERT_TRUE(choice);
    for (const GemmTile& tile : compiled_tiles(problem.product, problem.dtype)) {
      const auto other = estimate(problem, tile, kMultiprocessors);
      if (other) {
        EXPECT_LE(choice->clocks, other->clocks) << describe(*other);
      }
    }
  }
}

TEST(ChooseTile, LeavesAPartOfTheSquaresForEachColumnTile) {
  for (int n = 2; n < 5000; n += 2) {
    for (DType dtype : {kBf16, kF16}) {
      TileProblem problem = linear(576, n, 2048, dtype);
      problem.most_column_tiles = (n + 63) / 64;
      const auto choice = choose_tile(problem, kMultiprocessors);
      ASSERT_TRUE(choice) << n;
      EXPECT_LE(choice->column_tiles, problem.most_column_tiles) << n;
    }
  }
  TileProblem problem = linear(576, 2048, 2048);
  problem.most_column_tiles = 7;
  EXPECT_FALSE(choose_tile(problem, kMultiprocessors));
}

struct TimedTile {
  GemmTile tile;
  double us;
};

struct Measured {
  TileProblem problem;
  std::vector<TimedTile> tiles;
};

constexpr auto kNone = Pair::kNone;
constexpr auto kSplitK = Pair::kSplitK;
constexpr auto kShareX = Pair::kShareX;

/// On an H200, one tile after the other in a graph, with weights that no cache holds. Tiles that
/// are far from the best are left out.
const std::vector<Measured> kMeasured{
    {qkv(512, 2560, 2048),
     {{{2, 128, kShareX}, 20.09},
      {{2, 192, kShareX}, 24.32},
      {{2, 256, kSplitK}, 18.79},
      {{3, 128, kSplitK}, 15.61}}},
    {linear(512, 2048, 2048),
     {{{2, 96, kShareX}, 14.56},
      {{2, 128, kShareX}, 16.79},
      {{2, 128, kNone}, 16.68},
      {{2, 160, kSplitK}, 13.24},
      {{2, 192, kSplitK}, 14.80},
      {{2, 256, kSplitK}, 18.51},
      {{3, 96, kSplitK}, 13.48},
      {{3, 128, kSplitK}, 14.81}}},
    {geglu(512, 32768, 2048),
     {{{2, 256, kShareX}, 106.64},
      {{2, 256, kNone}, 105.16},
      {{3, 176, kShareX}, 134.80},
      {{3, 192, kShareX}, 116.31}}},
    {linear(512, 2048, 16384),
     {{{2, 96, kShareX}, 76.73},
      {{2, 128, kShareX}, 82.27},
      {{2, 128, kNone}, 82.01},
      {{2, 160, kSplitK}, 58.52},
      {{2, 192, kSplitK}, 66.25},
      {{2, 256, kSplitK}, 85.11},
      {{3, 96, kSplitK}, 74.44},
      {{3, 128, kSplitK}, 72.61}}},
    {qkv(576, 2560, 2048),
     {{{2, 128, kShareX}, 20.43},
      {{2, 192, kShareX}, 24.40},
      {{2, 256, kSplitK}, 19.10},
      {{3, 128, kSplitK}, 15.54}}},
    {linear(576, 2048, 2048),
     {{{2, 96, kShareX}, 15.43},
      {{2, 128, kShareX}, 17.09},
      {{2, 128, kNone}, 16.86},
      {{2, 160, kSplitK}, 14.08},
      {{2, 192, kSplitK}, 15.26},
      {{2, 256, kSplitK}, 18.65},
      {{3, 96, kSplitK}, 12.38},
      {{3, 128, kSplitK}, 14.31}}},
    {geglu(576, 32768, 2048),
     {{{2, 256, kShareX}, 130.13},
      {{2, 256, kNone}, 144.70},
      {{3, 176, kShareX}, 131.03},
      {{3, 192, kShareX}, 118.68}}},
    {linear(576, 2048, 16384),
     {{{2, 96, kShareX}, 92.45},
      {{2, 128, kShareX}, 98.70},
      {{2, 128, kNone}, 112.30},
      {{2, 160, kSplitK}, 79.53},
      {{2, 192, kSplitK}, 77.47},
      {{2, 256, kSplitK}, 87.41},
      {{3, 96, kSplitK}, 59.03},
      {{3, 128, kSplitK}, 66.66}}},
    {qkv(832, 2560, 2048),
     {{{1, 128, kShareX}, 31.43},
      {{2, 128, kShareX}, 37.30},
      {{2, 192, kShareX}, 25.24},
      {{3, 128, kSplitK}, 31.03}}},
    {linear(832, 2048, 2048),
     {{{2, 128, kShareX}, 17.90}, {{2, 128, kNone}, 17.72}, {{2, 256, kSplitK}, 18.87}}},
    {geglu(832, 32768, 2048),
     {{{2, 256, kShareX}, 183.50},
      {{2, 256, kNone}, 195.22},
      {{3, 176, kShareX}, 220.12},
      {{3, 192, kShareX}, 207.29}}},
    {linear(832, 2048, 16384),
     {{{2, 128, kShareX}, 101.99}, {{2, 128, kNone}, 116.80}, {{2, 256, kSplitK}, 95.53}}},
    {linear(512, 3456, 1152, kF16),
     {{{2, 64, kShareX}, 12.56},
      {{2, 160, kShareX}, 13.33},
      {{3, 144, kShareX}, 15.23},
      {{2, 128, kNone}, 10.83}}},
    {linear(512, 1152, 1152, kF16),
     {{{2, 64, kShareX}, 7.44},
      {{2, 96, kShareX}, 8.99},
      {{2, 96, kSplitK}, 7.01},
      {{2, 128, kSplitK}, 7.97}}},
    {linear(512, 4304, 1152, kF16),
     {{{2, 96, kShareX}, 17.47}, {{2, 160, kShareX}, 14.98}, {{3, 144, kShareX}, 16.16}}},
    {linear(512, 1152, 4304, kF16),
     {{{2, 64, kShareX}, 20.44}, {{2, 96, kSplitK}, 15.28}, {{2, 128, kSplitK}, 17.67}}},
    {linear(512, 2048, 1152, kF16),
     {{{1, 64, kShareX}, 9.96},
      {{2, 64, kShareX}, 7.88},
      {{2, 96, kShareX}, 8.95},
      {{2, 160, kShareX}, 12.61},
      {{2, 128, kNone}, 10.34},
      {{2, 128, kSplitK}, 7.95}}},
    {linear(768, 3456, 1152, kF16),
     {{{2, 96, kShareX}, 16.24}, {{2, 160, kShareX}, 14.27}, {{3, 144, kShareX}, 15.49}}},
    {linear(768, 1152, 1152, kF16),
     {{{1, 64, kShareX}, 9.79},
      {{2, 64, kShareX}, 7.81},
      {{2, 96, kShareX}, 9.31},
      {{2, 160, kShareX}, 13.40},
      {{2, 128, kNone}, 10.98},
      {{2, 128, kSplitK}, 8.27}}},
    {linear(768, 4304, 1152, kF16), {{{2, 160, kShareX}, 25.89}, {{3, 144, kShareX}, 16.91}}},
    {linear(768, 1152, 4304, kF16),
     {{{2, 64, kShareX}, 20.58},
      {{2, 96, kShareX}, 24.40},
      {{2, 128, kNone}, 25.63},
      {{2, 128, kSplitK}, 18.18}}},
    {linear(768, 2048, 1152, kF16),
     {{{2, 64, kShareX}, 12.17},
      {{2, 96, kShareX}, 10.03},
      {{2, 160, kShareX}, 13.09},
      {{3, 144, kShareX}, 14.99},
      {{2, 128, kNone}, 10.58}}}};

TEST(ChooseTile, TakesOneThatIsMeasuredToBeFast) {
  for (const auto& [problem, tiles] : kMeasured) {
    const auto choice = choose_tile(problem, kMultiprocessors);
    ASSERT_TRUE(choice);
    SCOPED_TRACE(testing::Message() << problem.m << " x " << problem.k << " x " << problem.n
                                    << " in " << describe(*choice));
    const auto by_time = [](const TimedTile& a, const TimedTile& b) { return a.us < b.us; };
    const double best = std::ranges::min_element(tiles, by_time)->us;
    const auto chosen = std::ranges::find(tiles, choice->tile, &TimedTile::tile);
    ASSERT_NE(chosen, tiles.end());
    EXPECT_LE(chosen->us, 1.03 * best);
  }
}

TEST(ChooseTile, SplitsNoSingleBlock) {
  for (const GemmTile& tile : kLinearBf16Tiles) {
    const bool splits = tile.pair == Pair::kSplitK;
    EXPECT_EQ(estimate(linear(576, 2048, 64), tile, kMultiprocessors).has_value(), !splits);
    EXPECT_TRUE(estimate(linear(576, 2048, 72), tile, kMultiprocessors));
  }
}

TEST(ChooseTile, HasNoneForOtherTypes) {
  EXPECT_FALSE(choose_tile(linear(576, 2048, 2048, DType::kF32), kMultiprocessors));
  TileProblem problem = geglu(576, 32768, 2048);
  problem.dtype = kF16;
  EXPECT_FALSE(choose_tile(problem, kMultiprocessors));
}

TEST(ChooseTile, FillsTheGpuWithTheLargeProducts) {
  // Two views and a prompt: 3 x 192 rows.
  const auto gate_up = choose_tile(geglu(576, 32768, 2048), kMultiprocessors);
  ASSERT_TRUE(gate_up);
  EXPECT_EQ(gate_up->row_tiles * gate_up->tile.rows(), 576);
  EXPECT_EQ(gate_up->ctas, kMultiprocessors);

  // A long k and few columns.
  const auto down = choose_tile(linear(576, 2048, 16384), kMultiprocessors);
  ASSERT_TRUE(down);
  EXPECT_EQ(down->tile.pair, Pair::kSplitK);
  EXPECT_EQ(down->rounds, 1);
}

TEST(Describe, NamesTileGridAndRounds) {
  const GemmTile tile{3, 192, Pair::kShareX};
  const auto choice = estimate(geglu(576, 32768, 2048), tile, kMultiprocessors);
  ASSERT_TRUE(choice);
  EXPECT_EQ(describe(*choice), "192x192 shared x, 3x171 tiles on 132 CTAs in 4 rounds");
}

}  // namespace
}  // namespace saccade::ops::detail
