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
    {qkv(576, 2560, 2048),
     {{{2, 192, kShareX}, 22.76}, {{2, 256, kSplitK}, 17.99}, {{3, 128, kSplitK}, 15.76}}},
    {linear(576, 2048, 2048),
     {{{2, 96, kShareX}, 14.55},
      {{2, 128, kShareX}, 15.55},
      {{2, 160, kSplitK}, 12.94},
      {{2, 256, kSplitK}, 17.22},
      {{3, 96, kSplitK}, 12.48},
      {{3, 128, kSplitK}, 13.91}}},
    {geglu(576, 32768, 2048), {{{2, 256, kShareX}, 122.53}, {{3, 192, kShareX}, 111.34}}},
    {linear(576, 2048, 16384),
     {{{2, 96, kShareX}, 82.28},
      {{2, 128, kShareX}, 83.92},
      {{2, 160, kSplitK}, 66.77},
      {{2, 256, kSplitK}, 86.50},
      {{3, 96, kSplitK}, 63.64},
      {{3, 128, kSplitK}, 67.21}}},
    {qkv(832, 2560, 2048), {{{2, 192, kShareX}, 23.33}, {{3, 128, kSplitK}, 29.12}}},
    {linear(832, 2048, 2048),
     {{{2, 128, kShareX}, 16.03},
      {{2, 160, kSplitK}, 23.90},
      {{2, 256, kSplitK}, 18.10},
      {{3, 96, kSplitK}, 22.99}}},
    {geglu(832, 32768, 2048), {{{2, 256, kShareX}, 173.51}, {{3, 192, kShareX}, 181.46}}},
    {linear(832, 2048, 16384),
     {{{2, 128, kShareX}, 94.48},
      {{2, 160, kSplitK}, 120.35},
      {{2, 256, kSplitK}, 93.92},
      {{3, 96, kSplitK}, 120.63}}},
    {linear(256, 3456, 1152, kF16),
     {{{2, 64, kShareX}, 8.16},
      {{2, 96, kShareX}, 8.65},
      {{2, 128, kNone}, 9.30},
      {{2, 128, kSplitK}, 8.13}}},
    {linear(256, 1152, 1152, kF16),
     {{{2, 64, kShareX}, 7.37},
      {{2, 96, kShareX}, 8.71},
      {{2, 96, kSplitK}, 6.11},
      {{2, 128, kSplitK}, 7.10}}},
    {linear(256, 4304, 1152, kF16),
     {{{2, 64, kShareX}, 13.59},
      {{2, 96, kShareX}, 10.01},
      {{2, 160, kShareX}, 13.25},
      {{2, 128, kNone}, 10.45},
      {{2, 96, kSplitK}, 13.25}}},
    {linear(256, 1152, 4304, kF16),
     {{{2, 64, kShareX}, 21.71}, {{2, 96, kSplitK}, 14.51}, {{2, 128, kSplitK}, 15.68}}},
    {linear(256, 2048, 1152, kF16),
     {{{2, 64, kShareX}, 7.15},
      {{2, 96, kShareX}, 7.95},
      {{2, 96, kSplitK}, 6.48},
      {{2, 128, kSplitK}, 7.00}}},
    {linear(512, 3456, 1152, kF16),
     {{{2, 64, kShareX}, 13.06},
      {{2, 96, kShareX}, 14.73},
      {{2, 160, kShareX}, 12.22},
      {{3, 144, kShareX}, 14.72},
      {{2, 128, kNone}, 10.10},
      {{2, 128, kSplitK}, 14.93}}},
    {linear(512, 1152, 1152, kF16),
     {{{2, 64, kShareX}, 7.73},
      {{2, 96, kShareX}, 8.77},
      {{2, 96, kSplitK}, 6.80},
      {{2, 128, kSplitK}, 7.64}}},
    {linear(512, 4304, 1152, kF16),
     {{{2, 64, kShareX}, 19.28},
      {{2, 96, kShareX}, 16.50},
      {{2, 160, kShareX}, 14.27},
      {{3, 144, kShareX}, 16.32},
      {{2, 96, kSplitK}, 20.60}}},
    {linear(512, 1152, 4304, kF16),
     {{{2, 64, kShareX}, 22.12}, {{2, 96, kSplitK}, 15.71}, {{2, 128, kSplitK}, 16.73}}},
    {linear(512, 2048, 1152, kF16),
     {{{2, 64, kShareX}, 8.21},
      {{2, 96, kShareX}, 8.59},
      {{2, 128, kNone}, 9.20},
      {{2, 128, kSplitK}, 7.98}}},
    {linear(768, 3456, 1152, kF16),
     {{{2, 64, kShareX}, 18.39},
      {{2, 96, kShareX}, 15.35},
      {{2, 160, kShareX}, 13.23},
      {{3, 144, kShareX}, 15.39}}},
    {linear(768, 1152, 1152, kF16),
     {{{2, 64, kShareX}, 8.08},
      {{2, 96, kShareX}, 9.07},
      {{2, 128, kNone}, 9.86},
      {{2, 128, kSplitK}, 8.12}}},
    {linear(768, 4304, 1152, kF16),
     {{{2, 64, kShareX}, 24.97},
      {{2, 96, kShareX}, 23.31},
      {{2, 160, kShareX}, 24.34},
      {{3, 144, kShareX}, 17.94},
      {{2, 128, kNone}, 19.79}}},
    {linear(768, 1152, 4304, kF16),
     {{{2, 64, kShareX}, 22.97}, {{2, 96, kShareX}, 24.05}, {{2, 128, kSplitK}, 18.10}}},
    {linear(768, 2048, 1152, kF16),
     {{{2, 64, kShareX}, 12.37},
      {{2, 96, kShareX}, 9.12},
      {{2, 160, kShareX}, 11.79},
      {{2, 128, kNone}, 9.41},
      {{2, 96, kSplitK}, 13.57}}}};

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
