// Times ops, one line a case, on the GPU where one is there and on the CPU elsewhere:
//
//   op_bench [part of a name]
//   op_bench --bits N [part of a name]   runs each case N times, and says whether its bits differ
//
// The cases are those of the tests, and on a GPU the ops of a policy at full size ("policy/...").
// Weights come from HBM: every op of a recorded graph has its own copy, and all copies are more
// than the cache holds. Activations stay in the cache, as they do in a policy.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cublaslt.h"
#include "cuda/device.h"
#include "ops/op_case.h"
#include "policy_cases.h"
#include "runtime/graph_timer.h"

namespace saccade::bench {
namespace {

using testing::OpCase;
using testing::Operand;

// What an H200 sustains, measured.
constexpr double kBytesPerUs = 4.55e6;
constexpr double kFlopsPerUs = 790e6;  // of e4m3 with e4m3 twice that, by the data sheet

constexpr std::size_t kColdBytes = 120'000'000;  // twice the cache
constexpr int kMostOps = 200;                    // in one graph
constexpr int kFewestOps = 3;
constexpr int kOpsWithoutWeights = 20;
constexpr std::size_t kWorthComparing = 1'000'000;  // bytes of weights, with cuBLASLt

/// The blocks of a case's operands on the CPU.
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

std::vector<Operand> written(const OpCase& op) {
  std::vector<Operand> all = op.outputs;
  all.insert(all.end(), op.scratch.begin(), op.scratch.end());
  return all;
}

/// A large operand repeats its first rows: random values take longer to make than to use.
void fill(const Operand& operand, const Tensor& tensor, std::mt19937& random) {
  constexpr std::int64_t kEnough = 1 << 20;
  const std::int64_t row = tensor.shape.size() / std::max(1, tensor.shape[0]);
  const std::int64_t rows = row == 0 ? 0 : kEnough / row;
  if (tensor.shape.size() <= kEnough || rows == 0) return operand.fill(tensor, random);
  const Tensor first = tensor.rows(0, int(rows));
  operand.fill(first, random);
  auto* bytes = tensor.as<std::byte>();
  for (std::size_t done = first.bytes(); done < tensor.bytes(); done += first.bytes()) {
    std::memcpy(bytes + done, bytes, std::min(first.bytes(), tensor.bytes() - done));
  }
}

Buffers make_inputs(const OpCase& op) {
  std::mt19937 random(1);
  Buffers in(op.inputs);
  for (std::size_t i = 0; i < in.tensors.size(); ++i) fill(op.inputs[i], in.tensors[i], random);
  return in;
}

Buffers make_outputs(const OpCase& op, const Buffers& in) {
  const std::vector<Operand> operands = written(op);
  Buffers out(operands);
  for (std::size_t i = 0; i < out.tensors.size(); ++i) {
    const int source = operands[i].starts_as;
    if (source >= 0) out.blocks[i] = in.blocks[std::size_t(source)];
    out.tensors[i].data = out.blocks[i].data();
  }
  return out;
}

double time_on_cpu(const OpCase& op) {
  constexpr std::size_t kRuns = 30;
  constexpr double kEnoughSeconds = 0.5;  // of one case, once it has run a few times
  const Buffers in = make_inputs(op);
  const Buffers out = make_outputs(op, in);
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
  std::nth_element(times.begin(), times.begin() + std::int64_t(times.size() / 2), times.end());
  return times[times.size() / 2];
}

/// Copies on the GPU, which live as long as this.
class DeviceTensors {
 public:
  explicit DeviceTensors(const Stream& stream) : stream_(stream) {}

  Tensor copy(const Tensor& host) {
    blocks_.push_back(cuda::allocate(std::max<std::size_t>(1, host.bytes())));
    cuda::upload(stream_, host.data, blocks_.back().get(), host.bytes());
    return {blocks_.back().get(), host.shape, host.dtype, Device::kCuda};
  }
  std::vector<Tensor> copy(const std::vector<Tensor>& host) {
    std::vector<Tensor> all;
    for (const Tensor& tensor : host) all.push_back(copy(tensor));
    return all;
  }

 private:
  const Stream& stream_;
  std::vector<std::shared_ptr<void>> blocks_;
};

struct GpuTime {
  double us = 0;
  double cublaslt_us = 0;  // 0: not known
};

/// Whether the second operand is a matrix that a policy reads from HBM.
bool has_weight(const OpCase& op) {
  const auto is = [&](const char* prefix) { return op.name.starts_with(prefix); };
  return (is("gemm/") || is("project_qkv/") || is("policy/")) && op.inputs.size() > 1 &&
         op.inputs[1].shape.rank() == 2;
}

GpuTime time_on_gpu(const OpCase& op, const Stream& stream) {
  const Buffers host_in = make_inputs(op);
  DeviceTensors device(stream);
  const std::vector<Tensor> in = device.copy(host_in.tensors);
  const std::vector<Tensor> out = device.copy(make_outputs(op, host_in).tensors);
  std::vector<std::vector<Tensor>> inputs(kOpsWithoutWeights, in);
  std::vector<Tensor> weights;
  if (has_weight(op)) {
    const Tensor& weight = host_in.tensors[1];
    const auto copies = int(kColdBytes / weight.bytes()) + 1;
    inputs.assign(std::size_t(std::clamp(copies, kFewestOps, kMostOps)), in);
    for (std::vector<Tensor>& of_one : inputs) {
      of_one[1] = device.copy(weight);
      weights.push_back(of_one[1]);
    }
  }
  op.run(stream, in, out);  // loads the kernels ahead of the recording
  cuda::synchronize(stream);
  GpuTime time;
  time.us = time_in_graph(stream, int(inputs.size()),
                          [&](int i) { op.run(stream, inputs[std::size_t(i)], out); });
  if (!weights.empty() && weights[0].bytes() >= kWorthComparing) {
    time.cublaslt_us = cublaslt_us(stream, in[0], weights, out[0].dtype);
  }
  return time;
}

void print(const OpCase& op, const GpuTime& time, bool on_gpu) {
  const double rate = op.inputs[0].dtype == DType::kE4m3 ? 2 * kFlopsPerUs : kFlopsPerUs;
  const double floor_us = std::max(op.flops / rate, op.bytes / kBytesPerUs);
  std::printf("%-56s %10.2f us | %8.3f TFLOP/s | %6.3f TB/s", op.name.c_str(), time.us,
              op.flops / time.us * 1e-6, op.bytes / time.us * 1e-6);
  if (on_gpu && floor_us > 0) std::printf(" | %3.0f %% of floor", 100 * floor_us / time.us);
  if (time.cublaslt_us > 0) std::printf(" | %5.2f x cuBLASLt", time.cublaslt_us / time.us);
  std::printf("\n");
  std::fflush(stdout);
}

/// Runs of a case, all from the same operands, that leave other bits than the first.
int runs_that_differ(const OpCase& op, const Stream& stream, int runs) {
  const Buffers host_in = make_inputs(op);
  const Buffers before = make_outputs(op, host_in);
  const bool on_gpu = stream.device == Device::kCuda;
  DeviceTensors device(stream);
  const std::vector<Tensor> in = on_gpu ? device.copy(host_in.tensors) : host_in.tensors;
  std::vector<std::vector<std::byte>> first;
  int differ = 0;
  for (int i = 0; i < runs; ++i) {
    Buffers after = before;
    for (std::size_t k = 0; k < after.blocks.size(); ++k) {
      after.tensors[k].data = after.blocks[k].data();
    }
    const std::vector<Tensor> out = on_gpu ? device.copy(after.tensors) : after.tensors;
    op.run(stream, in, out);
    for (std::size_t k = 0; on_gpu && k < out.size(); ++k) {
      cuda::enqueue_download(stream, out[k].data, after.blocks[k].data(), out[k].bytes());
    }
    if (on_gpu) cuda::synchronize(stream);
    if (i == 0) first = after.blocks;
    differ += after.blocks != first;
  }
  return differ;
}

void compare_bits(const OpCase& op, const Stream& stream, int runs) {
  const int differ = runs_that_differ(op, stream, runs);
  std::printf("%-56s %s", op.name.c_str(), differ == 0 ? "same bits" : "DIFFERENT BITS");
  if (differ > 0) std::printf(" in %d of %d runs", differ, runs);
  std::printf("\n");
  std::fflush(stdout);
}

/// With `runs`, compares bits; else takes the time.
void run(const std::string& part, int runs) {
  std::shared_ptr<const Stream> gpu;
  std::vector<OpCase> cases = testing::all_cases();
  if (cuda::device_is_there()) {
    gpu = cuda::open_stream();
    std::erase_if(cases, [](const OpCase& op) { return op.host_only; });
    const std::vector<OpCase> full_size = policy_cases();
    cases.insert(cases.begin(), full_size.begin(), full_size.end());
  }
  for (const OpCase& op : cases) {
    if (op.name.find(part) == std::string::npos) continue;
    if (runs > 0) {
      compare_bits(op, gpu ? *gpu : Stream{}, runs);
      continue;
    }
    const GpuTime time = gpu ? time_on_gpu(op, *gpu) : GpuTime{.us = time_on_cpu(op)};
    print(op, time, gpu != nullptr);
  }
}

}  // namespace
}  // namespace saccade::bench

int main(int argc, char** argv) {
  try {
    const bool bits = argc > 2 && std::strcmp(argv[1], "--bits") == 0;
    const int part = bits ? 3 : 1;
    saccade::bench::run(argc > part ? argv[part] : "", bits ? std::atoi(argv[2]) : 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "op_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
