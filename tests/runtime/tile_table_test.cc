#include "runtime/tile_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "io/temp_files.h"
#include "ops/trace.h"
#include "runtime/bench_policy.h"
#include "runtime/synth.h"

namespace saccade {
namespace {

using ops::detail::Product;

TileTableOptions options_of(Model model, Precision precision) {
  TileTableOptions options;
  options.synthetic = model;
  options.load.precision = precision;
  options.load.device = Device::kCpu;
  return options;
}

class EveryShape : public ::testing::TestWithParam<std::tuple<Model, Precision>> {};

TEST_P(EveryShape, HasAChoiceThatIsTheLowestEstimate) {
  const auto& [model, precision] = GetParam();
  const int most_tokens = model == Model::kPi0 ? 48 : 200;
  const TileTable table = tile_table(options_of(model, precision));
  EXPECT_EQ(table.multiprocessors, 132);
  std::map<std::pair<int, std::string>, int> next_token;  // of views and product
  for (const TileRow& row : table.rows) {
    const auto& problem = row.product.problem;
    SCOPED_TRACE(::testing::Message() << row.product.stage << " " << row.product.name << " "
                                      << problem.m << " x " << problem.n << " x " << problem.k);
    ASSERT_TRUE(row.chosen);
    for (const TileTime& tile : row.tiles) {
      EXPECT_GE(tile.estimated_us, row.tiles[*row.chosen].estimated_us);
      EXPECT_EQ(compiled_tiles(problem.product, problem.dtype)[std::size_t(tile.choice.index)],
                tile.choice.tile);
      EXPECT_EQ(tile.us, 0);
    }
    EXPECT_GT(row.tiles[*row.chosen].estimated_us, 1);
    EXPECT_FALSE(row.fastest);
    int& next =
        next_token.try_emplace({row.views, row.product.stage + row.product.name}, 1).first->second;
    EXPECT_EQ(row.first_tokens, next);
    next = row.last_tokens + 1;
    if (row.product.stage != "prefix") continue;
    EXPECT_EQ(problem.dtype, precision == Precision::kFp8 ? DType::kE4m3 : DType::kBf16);
    EXPECT_GE(problem.m, 256 * row.views + row.last_tokens);
    EXPECT_LT(problem.m, 256 * row.views + row.first_tokens + kPrefixRowStep);
  }
  EXPECT_EQ(next_token.size(), 3u * 11u);  // six products of vision, five of the prefix
  for (const auto& [product, next] : next_token) EXPECT_EQ(next, most_tokens + 1);
}

INSTANTIATE_TEST_SUITE_P(Policies, EveryShape,
                         ::testing::Combine(::testing::Values(Model::kPi0, Model::kPi05),
                                            ::testing::Values(Precision::kBf16, Precision::kFp8)),
                         [](const auto& info) {
                           return std::string(name_of(std::get<0>(info.param))) + "_" +
                                  name_of(std::get<1>(info.param));
                         });

/// What a trace calls a product.
std::string shape_of(const TiledProduct& product) {
  const auto& problem = product.problem;
  // Keys and values by themselves are a part of the merged projection; patches are padded on a GPU.
  const int n = product.name == "keys" ? product.tower.qkv() : problem.n;
  const int k = product.name == "patches" ? 588 : problem.k;
  std::string shape =
      std::to_string(problem.m) + " x " + std::to_string(k) + " x " + std::to_string(n);
  if (product.activation == ops::Activation::kGelu) shape += " gelu";
  if (product.activation == ops::Activation::kGeglu) shape += " geglu";
  return shape;
}

class TracedProducts : public ::testing::TestWithParam<Model> {};

TEST_P(TracedProducts, AreThoseThatAPolicyComputes) {
  io::TempDirectory directory;
  SynthOptions synth;
  synth.model = GetParam();
  synthesize_checkpoint(directory.path() / "policy", synth);
  BenchCase of;
  of.checkpoint = directory.path() / "policy";
  of.load.device = Device::kCpu;
  of.load.max_prompt_tokens = 200;
  of.load.chunk = 70;
  of.prompt_tokens = 120;  // behind two views of four tokens: 128 rows
  BenchPolicy bench(of);
  OpTrace trace;
  bench.policy().engine.stream.trace = &trace;
  bench.infer();

  std::map<std::string, int> computed;
  const int second_step = trace.sections[3].first_op;
  const int third_step = trace.sections[4].first_op;
  const auto count = [&](int begin, int end) {
    for (int op = begin; op < end; ++op) {
      const OpRecord& record = trace.ops[std::size_t(op)];
      const std::string name = record.op;
      if (name == "gemm" || name == "project_qkv") ++computed[record.shape];
    }
  };
  count(0, trace.sections[2].first_op);
  count(second_step, third_step);

  const int rows = 70;  // the second step of Pi0 has no row for the state
  std::map<std::string, int> listed;
  const models::PiDims& dims = bench.policy().engine.dims;
  for (const TiledProduct& product : tiled_products(dims, Precision::kBf16, {2, 128, rows})) {
    listed[shape_of(product)] += product.count;
  }
  // Beside the towers, a step embeds actions and makes a velocity of the last layer.
  const int width = dims.expert.width;
  const std::string in = "70 x 32 x " + std::to_string(width);
  const std::string out = "70 x " + std::to_string(width) + " x 32";
  ++listed[out];
  if (GetParam() == Model::kPi05) {
    ++listed[in];
  } else {
    ++listed[in + " silu"];
    ++listed["70 x 32 x 32"];
  }
  EXPECT_EQ(listed, computed);
}

INSTANTIATE_TEST_SUITE_P(Models, TracedProducts, ::testing::Values(Model::kPi0, Model::kPi05),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(TileTable, LeavesOutWhatKernelsWithOneTileCompute) {
  const models::PiDims dims;
  const auto stages = [&](const Precisions& precision, int expert_rows) {
    std::map<std::string, int> found;
    for (const auto& product : tiled_products(dims, precision, {2, 576, expert_rows})) {
      ++found[product.stage];
    }
    return found;
  };
  const std::map<std::string, int> few{{"prefix", 5}, {"vision", 6}};
  EXPECT_EQ(stages(Precision::kBf16, 64), few);
  EXPECT_EQ(stages(Precision::kBf16, 65),
            (std::map<std::string, int>{{"expert", 4}, {"prefix", 5}, {"vision", 6}}));
  EXPECT_EQ(stages(Precision::kFp8, 65), few);
}

TEST(TileTable, RefusesWhatNoTileComputes) {
  TileTableOptions options = options_of(Model::kPi05, Precision::kF32);
  EXPECT_REFUSED(tile_table(options), "only products in bf16 and fp8 have tiles");
  options.load.precision = Precision::kBf16;
  options.views = {4};
  EXPECT_REFUSED(tile_table(options), "1 to 3 views, 4 are asked for");
  options.views = {1};
  options.last_tokens = 201;
  EXPECT_REFUSED(tile_table(options), "0 to 200 prompt tokens, 1 to 201 are asked for");
  options.last_tokens = 0;
  EXPECT_REFUSED(tile_table(options), "1 to 0 are asked for");
  options.last_tokens = 5;
  options.checkpoint = "somewhere";
  EXPECT_REFUSED(tile_table(options), "got both");
  options.checkpoint.clear();
  options.measure = true;
  EXPECT_REFUSED(tile_table(options), "only measured on a GPU");
}

TEST(TileTable, FewerMultiprocessorsTakeMoreRounds) {
  TileTableOptions options = options_of(Model::kPi05, Precision::kBf16);
  options.views = {2};
  options.last_tokens = 1;
  const auto most_rounds = [&](int multiprocessors) {
    options.multiprocessors = multiprocessors;
    int most = 0;
    for (const TileRow& row : tile_table(options).rows) {
      most = std::max(most, row.tiles[*row.chosen].choice.rounds);
    }
    return most;
  };
  EXPECT_GT(most_rounds(20), most_rounds(132));
}

}  // namespace
}  // namespace saccade
