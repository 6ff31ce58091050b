#include "runtime/bench.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "io/temp_files.h"
#include "ops/trace.h"
#include "runtime/floor.h"
#include "runtime/profile.h"
#include "runtime/replays.h"
#include "runtime/synth.h"

namespace saccade {
namespace {

TEST(Spread, PercentilesAreTheSmallestTimesThatSoManyDoNotExceed) {
  std::vector<double> times(200);
  std::iota(times.rbegin(), times.rend(), 1.0);  // 200, 199, ..., 1
  const Spread spread = spread_of(times);
  EXPECT_EQ(spread.count, 200);
  EXPECT_EQ(spread.p50, 100);
  EXPECT_EQ(spread.p95, 190);
  EXPECT_EQ(spread.p99, 198);
  EXPECT_EQ(spread.max, 200);
  EXPECT_EQ(spread_of({7}).p99, 7);
  EXPECT_EQ(spread_of({3, 1, 2}).p50, 2);
}

// By hand. SigLIP over 512 rows, in GFLOP: a layer's projections are 2 x 512 x 1152 x (3456 + 1152
// + 2 x 4304) = 15.59, its attention 4 x 512 x 256 x 1152 = 0.604; 27 of both, the patches' 0.694
// and the projector's 2.416 are 440.35. Its weights are 27 x 15.22 million and 3.04 million of two
// bytes.
//
// The prefix's 532 rows: a layer has 2 x 532 x 110.1 million = 117.15 GFLOP of projections and
// 4 x 532^2 x 2048 = 2.32 of attention, 17 times, and the last 2 x 532 x 2048 x 512 = 1.12.
//
// A step of the expert reads 17.3 million weights in each of 18 layers and twice 32 x 1024.
TEST(Floor, OfPi05IsWhatOneCountsByHand) {
  const Floor floor = floor_of({}, {.views = 2, .tokens = 20, .actions = 50, .steps = 10});
  EXPECT_NEAR(floor.vision.flops, 440.35e9, 0.01e9);
  EXPECT_NEAR(floor.vision.bytes, 828.2e6, 0.1e6);
  EXPECT_NEAR(floor.vision.ms, 0.557, 0.001);
  EXPECT_NEAR(floor.prefix.flops, 2032.0e9, 0.2e9);
  EXPECT_NEAR(floor.prefix.ms, 2.572, 0.001);
  EXPECT_NEAR(floor.steps.bytes, 10 * 2 * (18 * 17301504.0 + 2 * 32768), 1);
  // The expert's attention has no weights: 4 x 50 x 582 x 2048 x 180 / 790e12 beside the bytes.
  EXPECT_NEAR(floor.steps.ms, 1e3 * (floor.steps.bytes / 4.55e12 + 42.9e9 / 790e12), 0.0005);
  EXPECT_DOUBLE_EQ(floor.ms(), floor.vision.ms + floor.prefix.ms + floor.steps.ms);
}

// The prefix's products take half the time, its 17 attentions what they took; the expert's layers
// half the bytes, at the rate of 16 bits.
TEST(Floor, OfFp8HasHalfTheBytesAndTwiceTheRateOfProducts) {
  Workload load{.views = 2, .tokens = 20, .actions = 50, .steps = 10};
  const Floor bf16 = floor_of({}, load);
  load.precision = Precision::kFp8;
  const Floor fp8 = floor_of({}, load);
  EXPECT_EQ(fp8.vision.ms, bf16.vision.ms);
  EXPECT_EQ(fp8.prefix.flops, bf16.prefix.flops);
  EXPECT_EQ(fp8.prefix.bytes, bf16.prefix.bytes / 2);
  const double attention_ms = 1e3 * 17 * 4 * 532 * 532 * 2048.0 / 790e12;
  EXPECT_NEAR(fp8.prefix.ms, attention_ms + (bf16.prefix.ms - attention_ms) / 2, 1e-9);
  EXPECT_NEAR(fp8.steps.bytes, 10 * (18 * 17301504.0 + 2 * 2 * 32768), 1);
  load.precision = {Precision::kBf16, Precision::kBf16, Precision::kFp8};
  EXPECT_EQ(floor_of({}, load).prefix.ms, bf16.prefix.ms);
  EXPECT_EQ(floor_of({}, load).steps.ms, fp8.steps.ms);
}

TEST(Floor, OfARecordedOpKnowsTheRateOfItsProducts) {
  const OpRecord op{.op = "gemm", .shape = "1 x 2 x 3", .flops = 790e9, .bytes = 0};
  OpRecord in_e4m3 = op;
  in_e4m3.is_e4m3 = true;
  EXPECT_DOUBLE_EQ(floor_ms(op), 1);
  EXPECT_DOUBLE_EQ(floor_ms(in_e4m3), 0.5);
}

TEST(Floor, Pi0HasAStateRowAtTheFirstStepAndAWiderSuffix) {
  models::PiDims dims;
  dims.model = Model::kPi0;
  const Workload one_step{.views = 1, .tokens = 0, .actions = 63, .steps = 1};
  Workload ten_steps = one_step;
  ten_steps.steps = 10;
  const double first = floor_of(dims, one_step).steps.flops;
  const double next = (floor_of(dims, ten_steps).steps.flops - first) / 9;
  // One more of 64 rows: a 64th of the layers' work, and the state's projection.
  const double row = 2 * 18 * 17301504.0 + 4 * (256 + 64) * 2048.0 * 18 + 2 * 32 * 1024;
  EXPECT_NEAR(first - next, row, 1);
}

OpTrace trace_of(const std::vector<std::vector<const char*>>& sections) {
  OpTrace trace;
  for (const auto& ops : sections) {
    trace.open_section("stage");
    for (const char* op : ops) trace.ops.push_back({.op = op, .shape = "1"});
  }
  return trace;
}

TEST(Profile, RepeatedSectionsAreMeasuredAsAWhole) {
  const OpTrace trace = trace_of({{"p"}, {"a", "b"}, {"a", "b"}, {"a", "b"}, {"a", "b"}, {"a"}});
  // Ends of the first n ops. The second repetition of a, b takes 8, the third 4.
  const double ends[] = {0, 10, 11, 14, 15, 18, 20, 26, 27, 30, 37};
  std::set<int> measured;
  const std::vector<double> times = marginal_times(trace, [&](int ops) {
    measured.insert(ops);
    return ends[ops];
  });
  EXPECT_EQ(measured, (std::set<int>{1, 2, 3, 4, 5, 7, 9, 10}));
  EXPECT_EQ(times, (std::vector<double>{10, 1, 3, 1, 3, 2, 6, 1, 3, 7}));
}

TEST(Profile, TimeOfOpsThatTookNoneIsSharedEvenly) {
  const OpTrace trace = trace_of({{"a", "b"}, {"a", "b"}, {"a", "b"}});
  const double ends[] = {0, 5, 4, 6, 4, 5, 10};
  const auto times = marginal_times(trace, [&](int ops) { return ends[ops]; });
  EXPECT_EQ(times, (std::vector<double>{5, -1, 2, -2, 3, 3}));
}

TEST(Profile, RowsSumUpOpsThatAreAlike) {
  const OpRecord gemm{.op = "gemm", .shape = "1 x 2 x 3", .flops = 790e6, .bytes = 0};
  const OpRecord read{.op = "gemm", .shape = "1 x 2 x 4", .flops = 0, .bytes = 9.1e6};
  const std::vector<ProfiledOp> ops{
      {"prefix", gemm, 3}, {"steps", gemm, 4}, {"steps", read, 5}, {"steps", gemm, -1}};
  const std::vector<ProfileRow> rows = sum_up(ops, true);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].stage, "steps");
  EXPECT_EQ(rows[1].count, 2);
  EXPECT_EQ(rows[1].us, 3);
  EXPECT_NEAR(rows[1].floor_us, 2.0, 1e-9);
  EXPECT_NEAR(rows[2].floor_us, 2.0, 1e-9);
  const std::vector<ProfileRow> stages = sum_up(ops, false);
  ASSERT_EQ(stages.size(), 2u);
  EXPECT_EQ(stages[1].count, 3);
  EXPECT_EQ(stages[1].us, 8);
  EXPECT_NEAR(stages[1].floor_us, 4.0, 1e-9);
}

class TracedPolicy : public ::testing::TestWithParam<Model> {
 protected:
  TracedPolicy() {
    SynthOptions options;
    options.model = GetParam();
    synthesize_checkpoint(checkpoint_, options);
    of_.checkpoint = checkpoint_;
    of_.load.device = Device::kCpu;
    of_.prompt_tokens = 7;
  }

  io::TempDirectory directory_;
  std::filesystem::path checkpoint_ = directory_.path() / "checkpoint";
  BenchCase of_;
};

TEST_P(TracedPolicy, SeesEveryOpAndCountsAsTheFloorDoes) {
  BenchPolicy bench(of_);
  OpTrace trace;
  bench.policy().engine.stream.trace = &trace;
  bench.infer();
  const int steps = bench.policy().info.steps;
  ASSERT_EQ(int(trace.sections.size()), 2 + steps);
  EXPECT_EQ(trace.sections[0].name, "vision");
  EXPECT_EQ(trace.sections[1].name, "prefix");
  EXPECT_EQ(trace.sections.back().name, "steps");
  double flops = 0;
  for (int op = 0; op < trace.sections[1].first_op; ++op) flops += trace.ops[std::size_t(op)].flops;
  const Floor floor = floor_of(bench.policy().engine.dims, {.views = 2});
  EXPECT_DOUBLE_EQ(flops, floor.vision.flops);
}

TEST_P(TracedPolicy, OpsBeyondTheLimitDoNotRun) {
  BenchPolicy bench(of_);
  bench.write_inputs();
  const Tensor x = bench.policy().engine.host_inputs.x;
  const std::vector<float> noise(x.as<float>(), x.as<float>() + x.shape.size());
  const auto run = [&](int limit) {
    OpTrace trace;
    trace.limit = limit;
    bench.policy().engine.stream.trace = &trace;
    bench.infer();
    return std::pair(std::vector<float>(x.as<float>(), x.as<float>() + x.shape.size()),
                     trace.size());
  };
  const auto [actions, ops] = run(1'000'000);
  EXPECT_NE(actions, noise);
  EXPECT_EQ(run(0), (std::pair{noise, ops}));
  const std::vector<float> before_last = run(ops - 1).first;
  EXPECT_NE(before_last, noise);
  EXPECT_NE(before_last, actions);
}

INSTANTIATE_TEST_SUITE_P(Models, TracedPolicy, ::testing::Values(Model::kPi0, Model::kPi05),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace saccade
