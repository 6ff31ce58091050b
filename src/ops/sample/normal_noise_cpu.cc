#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/philox.h"
#include "ops/elements.h"
#include "ops/sample/normal_noise.h"

namespace saccade::ops::detail {
namespace {

std::uint32_t low(std::uint64_t word) { return static_cast<std::uint32_t>(word); }
std::uint32_t high(std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); }

/// Two independent normal values from two words.
std::array<float, 2> box_muller(std::uint32_t a, std::uint32_t b) {
  constexpr float kStep = 0x1p-32f;
  const float u = float(a) * kStep + kStep / 2;  // in (0, 1]: never log(0)
  const float radius = std::sqrt(-2 * std::log(u));
  const float angle = 2 * std::numbers::pi_v<float> * (float(b) * kStep);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace

void normal_noise_cpu(const NormalNoiseParams& p) {
  for (std::int64_t first = 0; first < p.size; first += 4) {
    const auto block = std::uint64_t(first) / 4;
    const auto words = philox4x32({low(block), high(block), 0, 0}, {low(p.seed), high(p.seed)});
    const auto pair0 = box_muller(words[0], words[1]);
    const auto pair1 = box_muller(words[2], words[3]);
    const std::array<float, 4> values{pair0[0], pair0[1], pair1[0], pair1[1]};
    for (std::int64_t i = 0; i < std::min<std::int64_t>(4, p.size - first); ++i) {
      store(p.out, p.dtype, first + i, p.mean + p.deviation * values[std::size_t(i)]);
    }
  }
}

}  // namespace saccade::ops::detail
