// Times every op of the case tables on the CPU, one line a case:
//
//   op_bench [part of a name]    median time, rates, and the spread of the runs

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "ops/op_case.h"

namespace saccade::testing {
namespace {

constexpr int kRuns = 30;
constexpr double kEnoughSeconds = 0.5;  // of one case, once it has run a few times

struct Buffers {
  explicit Buffers(const std::vector<Operand>& operands) {
    for (const Operand& o : operands) {
      const Tensor shape_only{nullptr, o.shape, o.dtype, Device::kCpu};
      blocks.emplace_back(shape_only.bytes());
      tensors.push_back({blocks.back().data(), o.shape, o.dtype, Device::kCpu});
    }
  }
  std::vector<std::vector<std::byte>> blocks;
  std::vector<Tensor> tensors;
};

std::vector<double> time_us(const OpCase& op) {
  std::mt19937 random(1);
  Buffers in(op.inputs);
  std::vector<Operand> written = op.outputs;
  written.insert(written.end(), op.scratch.begin(), op.scratch.end());
  Buffers out(written);
  for (std::size_t i = 0; i < in.tensors.size(); ++i) op.inputs[i].fill(in.tensors[i], random);
  for (std::size_t i = 0; i < out.tensors.size(); ++i) {
    const int source = written[i].starts_as;
    if (source >= 0) out.blocks[i] = in.blocks[std::size_t(source)];
    out.tensors[i].data = out.blocks[i].data();
  }
  op.run(Stream{}, in.tensors, out.tensors);  // warms the caches and the threads

  std::vector<double> times;
  double total = 0;
  while (times.size() < kRuns && (times.size() < 3 || total < kEnoughSeconds)) {
    const auto start = std::chrono::steady_clock::now();
    op.run(Stream{}, in.tensors, out.tensors);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    total += taken.count();
    times.push_back(taken.count() * 1e6);
  }
  std::sort(times.begin(), times.end());
  return times;
}

void run(const std::string& part) {
  for (const OpCase& op : all_cases()) {
    if (op.name.find(part) == std::string::npos) continue;
    const std::vector<double> times = time_us(op);
    const double median = times[times.size() / 2];
    std::printf("%-52s %10.1f us | %8.2f GFLOP/s | %8.2f GB/s | max %10.1f us\n", op.name.c_str(),
                median, op.flops / median * 1e-3, op.bytes / median * 1e-3, times.back());
  }
}

}  // namespace
}  // namespace saccade::testing

int main(int argc, char** argv) {
  saccade::testing::run(argc > 1 ? argv[1] : "");
  return 0;
}
