#include "runtime/synth_random.h"

#include <cmath>

#include "core/bf16.h"

namespace saccade {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): a counter-based generator when the state is key + i gamma.
constexpr std::uint64_t kGamma = 0x9e3779b97f4a7c15;

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// FNV-1a.
std::uint64_t hash(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return h;
}

// Four uniform values of 16 bits are near enough to a normal one, at one hash per element.
constexpr double kSumMean = 2.0 * 65535;
constexpr double kSumVariance = 4 * (65536.0 * 65536 - 1) / 12;

template <typename T>
void fill_values(std::uint64_t key, float scale, float offset, std::uint64_t first,
                 std::span<T> out) {
  std::uint64_t state = key + first * kGamma;
  for (T& value : out) {
    const std::uint64_t bits = mix(state += kGamma);
    const auto sum = static_cast<int>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                      (bits >> 32 & 0xffff) + (bits >> 48));
    value = from_float<T>(static_cast<float>(sum) * scale + offset);
  }
}

}  // namespace

RandomTensor::RandomTensor(std::uint64_t seed, std::string_view name, float mean, float std)
    : key_(mix(mix(seed + kGamma) ^ hash(name))),
      scale_(static_cast<float>(std / std::sqrt(kSumVariance))),
      offset_(static_cast<float>(mean - kSumMean * (std / std::sqrt(kSumVariance)))) {}

void RandomTensor::fill(std::uint64_t first, std::span<float> out) const {
  fill_values(key_, scale_, offset_, first, out);
}

void RandomTensor::fill(std::uint64_t first, std::span<bf16> out) const {
  fill_values(key_, scale_, offset_, first, out);
}

}  // namespace saccade
