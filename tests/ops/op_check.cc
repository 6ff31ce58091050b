#include "ops/op_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/bf16.h"
#include "core/e4m3.h"
#include "core/f16.h"

namespace saccade::testing {
namespace {

// One bf16 element can be off by 2^-8 of its value, more than a tensor in the Euclidean norm.
constexpr double kElementFactor = 1.5;
constexpr std::size_t kGuardBytes = 64;
constexpr std::byte kPoison{0xff};  // NaN in both types: what an op forgets to write stays visible
constexpr std::byte kGuard{0xa5};

/// A CPU tensor, the exact values it holds, and guard bytes behind it.
struct Buffer {
  explicit Buffer(const Operand& o)
      : bytes(std::size_t(o.shape.size()) * size_of(o.dtype) + kGuardBytes, kPoison),
        tensor{bytes.data(), o.shape, o.dtype, Device::kCpu} {
    std::fill(bytes.end() - kGuardBytes, bytes.end(), kGuard);
  }

  bool guard_is_intact() const {
    return std::all_of(bytes.end() - kGuardBytes, bytes.end(),
                       [](std::byte byte) { return byte == kGuard; });
  }

  Values values() const {
    Values out(std::size_t(tensor.shape.size()));
    for (std::size_t i = 0; i < out.size(); ++i) {
      switch (tensor.dtype) {
        case DType::kF32:
          out[i] = tensor.as<float>()[i];
          break;
        case DType::kBf16:
          out[i] = to_float(tensor.as<bf16>()[i]);
          break;
        case DType::kF16:
          out[i] = to_float(tensor.as<f16>()[i]);
          break;
        case DType::kE4m3:
          out[i] = to_float(tensor.as<e4m3>()[i]);
          break;
        case DType::kI32:
          out[i] = tensor.as<std::int32_t>()[i];
          break;
        case DType::kU8:
          out[i] = tensor.as<std::uint8_t>()[i];
          break;
      }
    }
    return out;
  }

  std::vector<std::byte> bytes;
  Tensor tensor;
};

/// Outputs, then scratch.
std::vector<Buffer> outputs_of(const OpCase& op, const std::vector<Buffer>& in) {
  std::vector<Buffer> out(op.outputs.begin(), op.outputs.end());
  for (const Operand& operand : op.scratch) out.emplace_back(operand);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int source = i < op.outputs.size() ? op.outputs[i].starts_as : -1;
    if (source >= 0) out[i].bytes = in[std::size_t(source)].bytes;
    out[i].tensor.data = out[i].bytes.data();
  }
  return out;
}

std::vector<Tensor> tensors_of(const std::vector<Buffer>& buffers) {
  std::vector<Tensor> tensors;
  for (const Buffer& buffer : buffers) tensors.push_back(buffer.tensor);
  return tensors;
}

/// What rounding to the nearest may change a value by.
double rounding_of(DType dtype, double value) {
  if (dtype != DType::kE4m3) return 0;
  constexpr int kSmallestExponent = -6;
  const int exponent = value == 0 ? kSmallestExponent : std::ilogb(value);
  return std::ldexp(1, std::max(exponent, kSmallestExponent) - 4);  // half of the last of 3 bits
}

void expect_near(const Values& got, const Values& want, DType dtype, double tolerance,
                 std::size_t output) {
  ASSERT_EQ(got.size(), want.size());
  double error = 0, norm = 0, largest_error = 0, largest = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!std::isfinite(want[i])) {
      const bool is_same = got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]));
      ASSERT_TRUE(is_same) << "output " << output << ", element " << i;
      continue;
    }
    const double distance = std::abs(got[i] - want[i]);
    ASSERT_FALSE(std::isnan(distance)) << "output " << output << ", element " << i;
    const double difference = std::max(0.0, distance - rounding_of(dtype, want[i]));
    error += difference * difference;
    norm += want[i] * want[i];
    largest_error = std::max(largest_error, difference);
    largest = std::max(largest, std::abs(want[i]));
  }
  EXPECT_LE(std::sqrt(error), tolerance * std::sqrt(norm)) << "output " << output;
  EXPECT_LE(largest_error, kElementFactor * tolerance * largest) << "output " << output;
}

}  // namespace

void check_case(const OpCase& op, const Runner& run) {
  std::mt19937 random(1);
  std::vector<Buffer> in(op.inputs.begin(), op.inputs.end());
  std::vector<Values> values;
  for (std::size_t i = 0; i < in.size(); ++i) {
    op.inputs[i].fill(in[i].tensor, random);
    values.push_back(in[i].values());
  }
  const std::vector<Buffer> in_before = in;

  const std::vector<Buffer> out = outputs_of(op, in);
  run(op, tensors_of(in), tensors_of(out));
  const std::vector<Values> exact = op.exact(values);
  ASSERT_EQ(exact.size(), op.outputs.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (i < exact.size()) {
      expect_near(out[i].values(), exact[i], out[i].tensor.dtype, op.tolerance, i);
    }
    EXPECT_TRUE(out[i].guard_is_intact()) << "output " << i;
  }
  for (std::size_t i = 0; i < in.size(); ++i) {
    EXPECT_EQ(in[i].bytes, in_before[i].bytes) << "input " << i << " was written";
  }

  const std::vector<Buffer> again = outputs_of(op, in);
  run(op, tensors_of(in), tensors_of(again));
  for (std::size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(again[i].bytes, out[i].bytes) << "output " << i << " differs from run to run";
  }
}

std::string test_name(const OpCase& op) {
  std::string name = op.name;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

}  // namespace saccade::testing
