#include <cmath>
#include <numbers>

#include "core/philox.h"
#include "ops/op_case.h"
#include "saccade/ops/sample.h"

namespace saccade::testing {
namespace {

Values exact(std::uint64_t seed, std::int64_t size) {
  Values out;
  for (std::int64_t first = 0; first < size; first += 4) {
    const auto counter = static_cast<std::uint32_t>(first / 4);
    const auto words = philox4x32({counter, 0, 0, 0}, {static_cast<std::uint32_t>(seed),
                                                       static_cast<std::uint32_t>(seed >> 32)});
    for (int pair = 0; pair < 4; pair += 2) {
      const double radius = std::sqrt(-2 * std::log((words[pair] + 0.5) * 0x1p-32));
      const double angle = 2 * std::numbers::pi * words[pair + 1] * 0x1p-32;
      out.push_back(radius * std::cos(angle));
      out.push_back(radius * std::sin(angle));
    }
  }
  out.resize(size);
  return out;
}

OpCase make(std::uint64_t seed, Shape shape, DType dtype = DType::kF32, float mean = 0,
            float deviation = 1) {
  const double count = double(shape.size());
  return {
      .name = std::string("normal_noise/") + name_of(dtype) + "/" + std::to_string(shape.size()) +
              "/seed" + std::to_string(seed),
      .inputs = {},
      .outputs = {{shape, dtype}},
      .run =
          [=](const Stream& s, std::span<const Tensor>, std::span<const Tensor> out) {
            ops::normal_noise(s, seed, mean, deviation, out[0]);
          },
      .exact = [=](std::span<const Values>) -> std::vector<Values> {
        Values values = exact(seed, shape.size());
        for (double& value : values) value = mean + deviation * value;
        return {values};
      },
      .tolerance = tolerance_of(dtype),
      .flops = 40 * count,
      .bytes = double(size_of(dtype)) * count,
  };
}

}  // namespace

std::vector<OpCase> normal_noise_cases() {
  return {
      make(0, {1}),
      make(1, {3}),
      make(2, {5}),
      make(0xfedcba9876543210, {50, 32}),
      make(7, {100, 1000}),
      make(8, {33}, DType::kBf16, 1, 0.125f),
      make(9, {30}, DType::kF16, -2, 0.5f),
  };
}

}  // namespace saccade::testing
