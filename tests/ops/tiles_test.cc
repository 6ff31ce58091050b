#include "ops/gemm/tiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <vector>

#include "saccade/ops/quantize.h"

namespace saccade::ops::detail {
namespace {

constexpr int kMultiprocessors = 132;
constexpr auto kBf16 = DType::kBf16;
constexpr auto kF16 = DType::kF16;
constexpr auto kE4m3 = DType::kE4m3;

TileProblem linear(int m, int n, int k, DType dtype = kBf16) {
  return {Product::kLinear, dtype, m, n, k, INT_MAX};
}

TileProblem geglu(int m, int n, int k, DType dtype = kBf16) {
  return {Product::kGeglu, dtype, m, n, k, INT_MAX};
}

TileProblem qkv(int m, int n, int k, DType dtype = kBf16) {
  return {Product::kQkv, dtype, m, n, k, INT_MAX};
}

/// The products of Pi0 and Pi0.5 that have many rows, and some that nobody has.
std::vector<TileProblem> problems() {
  std::vector<TileProblem> all;
  for (int m : {320, 512, 576, 640, 704, 768, 832, 896, 968, 1, 63, 65, 200, 3000}) {
    for (DType dtype : {kBf16, kE4m3}) {
      all.push_back(qkv(m, 2560, 2048, dtype));
      all.push_back(qkv(m, 512, 2048, dtype));
      all.push_back(linear(m, 2048, 2048, dtype));
      all.push_back(geglu(m, 32768, 2048, dtype));
      all.push_back(linear(m, 2048, 16384, dtype));
    }
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
  return {kLinearBf16Tiles, kLinearF16Tiles, kGegluBf16Tiles, kQkvBf16Tiles,
          kLinearE4m3Tiles, kGegluE4m3Tiles, kQkvE4m3Tiles};
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
  for (const GemmTile& tile : kGegluE4m3Tiles) EXPECT_EQ(tile.columns / 2, ops::kScaleBlock);
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
    for (DType dtype : {kBf16, kF16, kE4m3}) {
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
     {{{2, 192, kShareX}, 22.25}, {{2, 256, kSplitK}, 17.72}, {{3, 128, kSplitK}, 15.25}}},
    {linear(576, 2048, 2048),
     {{{2, 96, kShareX}, 13.46},
      {{2, 128, kShareX}, 15.41},
      {{2, 96, kSplitK}, 18.26},
      {{2, 160, kSplitK}, 12.89},
      {{2, 256, kSplitK}, 17.35},
      {{3, 96, kSplitK}, 12.21},
      {{3, 128, kSplitK}, 13.94}}},
    {geglu(576, 32768, 2048), {{{2, 256, kShareX}, 119.76}, {{3, 192, kShareX}, 108.76}}},
    {linear(576, 2048, 16384),
     {{{2, 96, kShareX}, 78.29},
      {{2, 96, kSplitK}, 97.19},
      {{2, 160, kSplitK}, 62.68},
      {{2, 256, kSplitK}, 86.21},
      {{3, 96, kSplitK}, 58.31},
      {{3, 128, kSplitK}, 66.00}}},
    {qkv(832, 2560, 2048),
     {{{2, 192, kShareX}, 22.96}, {{2, 256, kSplitK}, 32.53}, {{3, 128, kSplitK}, 27.93}}},
    {linear(832, 2048, 2048),
     {{{2, 96, kShareX}, 25.24},
      {{2, 128, kShareX}, 16.04},
      {{2, 96, kSplitK}, 29.05},
      {{2, 160, kSplitK}, 25.27},
      {{2, 256, kSplitK}, 18.01},
      {{3, 96, kSplitK}, 22.30}}},
    {geglu(832, 32768, 2048), {{{2, 256, kShareX}, 167.76}, {{3, 192, kShareX}, 177.79}}},
    {linear(832, 2048, 16384),
     {{{2, 128, kShareX}, 92.31},
      {{2, 96, kSplitK}, 151.26},
      {{2, 160, kSplitK}, 130.10},
      {{2, 256, kSplitK}, 92.41},
      {{3, 96, kSplitK}, 123.15}}},
    {linear(256, 3456, 1152, kF16),
     {{{2, 64, kShareX}, 7.92},
      {{2, 96, kShareX}, 8.24},
      {{2, 160, kShareX}, 11.40},
      {{2, 128, kNone}, 9.17},
      {{2, 96, kSplitK}, 12.40},
      {{2, 128, kSplitK}, 8.12}}},
    {linear(256, 1152, 1152, kF16),
     {{{2, 64, kShareX}, 6.98},
      {{2, 96, kShareX}, 8.31},
      {{2, 96, kSplitK}, 6.13},
      {{2, 128, kSplitK}, 7.08}}},
    {linear(256, 4304, 1152, kF16),
     {{{2, 64, kShareX}, 12.98},
      {{2, 96, kShareX}, 9.71},
      {{2, 160, kShareX}, 12.96},
      {{2, 128, kNone}, 10.39},
      {{2, 96, kSplitK}, 13.40},
      {{2, 128, kSplitK}, 15.61}}},
    {linear(256, 1152, 4304, kF16),
     {{{2, 64, kShareX}, 18.52}, {{2, 96, kSplitK}, 13.53}, {{2, 128, kSplitK}, 14.73}}},
    {linear(256, 2048, 1152, kF16),
     {{{2, 64, kShareX}, 6.76},
      {{2, 96, kShareX}, 7.52},
      {{2, 96, kSplitK}, 6.54},
      {{2, 128, kSplitK}, 7.03}}},
    {linear(512, 3456, 1152, kF16),
     {{{2, 64, kShareX}, 12.19},
      {{2, 96, kShareX}, 14.38},
      {{2, 160, kShareX}, 12.24},
      {{3, 144, kShareX}, 14.57},
      {{2, 128, kNone}, 10.07},
      {{2, 96, kSplitK}, 19.04},
      {{2, 128, kSplitK}, 15.10}}},
    {linear(512, 1152, 1152, kF16),
     {{{2, 64, kShareX}, 7.32},
      {{2, 96, kShareX}, 8.49},
      {{2, 96, kSplitK}, 6.87},
      {{2, 128, kSplitK}, 7.77}}},
    {linear(512, 4304, 1152, kF16),
     {{{2, 64, kShareX}, 18.22},
      {{2, 96, kShareX}, 16.27},
      {{2, 160, kShareX}, 14.41},
      {{3, 144, kShareX}, 16.69},
      {{2, 128, kNone}, 19.05},
      {{2, 96, kSplitK}, 20.85},
      {{2, 128, kSplitK}, 23.35}}},
    {linear(512, 1152, 4304, kF16),
     {{{2, 64, kShareX}, 20.51}, {{2, 96, kSplitK}, 15.52}, {{2, 128, kSplitK}, 17.54}}},
    {linear(512, 2048, 1152, kF16),
     {{{2, 64, kShareX}, 7.86},
      {{2, 96, kShareX}, 8.22},
      {{2, 160, kShareX}, 11.39},
      {{2, 128, kNone}, 9.20},
      {{2, 96, kSplitK}, 12.29},
      {{2, 128, kSplitK}, 7.99}}},
    {linear(768, 3456, 1152, kF16),
     {{{2, 64, kShareX}, 16.68},
      {{2, 96, kShareX}, 14.65},
      {{2, 160, kShareX}, 13.10},
      {{3, 144, kShareX}, 15.41},
      {{2, 128, kNone}, 17.14},
      {{2, 128, kSplitK}, 22.16}}},
    {linear(768, 1152, 1152, kF16),
     {{{2, 64, kShareX}, 7.74},
      {{2, 96, kShareX}, 8.77},
      {{2, 160, kShareX}, 12.36},
      {{2, 128, kNone}, 9.83},
      {{2, 96, kSplitK}, 12.89},
      {{2, 128, kSplitK}, 8.18}}},
    {linear(768, 4304, 1152, kF16),
     {{{2, 96, kShareX}, 22.74},
      {{2, 160, kShareX}, 24.22},
      {{3, 144, kShareX}, 17.92},
      {{2, 128, kNone}, 19.70}}},
    {linear(768, 1152, 4304, kF16),
     {{{2, 64, kShareX}, 20.77},
      {{2, 96, kShareX}, 24.03},
      {{2, 96, kSplitK}, 28.03},
      {{2, 128, kSplitK}, 18.27}}},
    {linear(768, 2048, 1152, kF16),
     {{{2, 64, kShareX}, 11.33},
      {{2, 96, kShareX}, 9.04},
      {{2, 160, kShareX}, 11.82},
      {{2, 128, kNone}, 9.52},
      {{2, 96, kSplitK}, 13.97},
      {{2, 128, kSplitK}, 14.35}}},
    {qkv(320, 2560, 2048, kE4m3),
     {{{2, 192, kShareX}, 13.86}, {{2, 256, kSplitK}, 12.08}, {{3, 128, kSplitK}, 9.36}}},
    {qkv(320, 512, 2048, kE4m3),
     {{{2, 192, kShareX}, 13.47}, {{2, 256, kSplitK}, 11.57}, {{3, 128, kSplitK}, 8.97}}},
    {linear(320, 2048, 2048, kE4m3),
     {{{2, 96, kShareX}, 10.02},
      {{2, 128, kShareX}, 11.37},
      {{2, 96, kSplitK}, 7.26},
      {{2, 128, kSplitK}, 8.05},
      {{2, 160, kSplitK}, 9.12},
      {{3, 96, kSplitK}, 8.40}}},
    {linear(320, 2048, 16384, kE4m3),
     {{{2, 96, kShareX}, 51.80},
      {{2, 96, kSplitK}, 33.70},
      {{2, 128, kSplitK}, 34.40},
      {{2, 160, kSplitK}, 36.34},
      {{3, 96, kSplitK}, 40.73}}},
    {qkv(576, 2560, 2048, kE4m3),
     {{{2, 192, kShareX}, 14.09}, {{2, 256, kSplitK}, 12.49}, {{3, 128, kSplitK}, 10.59}}},
    {qkv(576, 512, 2048, kE4m3),
     {{{2, 192, kShareX}, 13.59}, {{2, 256, kSplitK}, 11.65}, {{3, 128, kSplitK}, 9.06}}},
    {linear(576, 2048, 2048, kE4m3),
     {{{2, 96, kShareX}, 10.44},
      {{2, 128, kShareX}, 11.70},
      {{2, 96, kSplitK}, 13.81},
      {{2, 160, kSplitK}, 9.72},
      {{3, 96, kSplitK}, 9.25}}},
    {linear(576, 2048, 16384, kE4m3),
     {{{2, 96, kShareX}, 52.59},
      {{2, 128, kShareX}, 60.90},
      {{2, 160, kSplitK}, 38.91},
      {{3, 96, kSplitK}, 38.84}}},
    {qkv(832, 2560, 2048, kE4m3),
     {{{2, 192, kShareX}, 14.71}, {{2, 256, kSplitK}, 22.30}, {{3, 128, kSplitK}, 19.36}}},
    {qkv(832, 512, 2048, kE4m3),
     {{{2, 192, kShareX}, 13.66}, {{2, 256, kSplitK}, 11.85}, {{3, 128, kSplitK}, 9.13}}},
    {linear(832, 2048, 2048, kE4m3),
     {{{2, 128, kShareX}, 11.88}, {{2, 128, kSplitK}, 17.13}, {{3, 96, kSplitK}, 17.27}}},
    {linear(832, 2048, 16384, kE4m3),
     {{{2, 128, kShareX}, 63.45},
      {{2, 96, kSplitK}, 96.34},
      {{2, 128, kSplitK}, 70.10},
      {{2, 160, kSplitK}, 78.24},
      {{3, 96, kSplitK}, 74.11}}},
};

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
