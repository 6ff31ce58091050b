#pragma once

#include <array>
#include <cstdint>

#include "core/host_device.h"

namespace saccade {

/// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy
/// as 1, 2, 3" (SC11): every block of four words is a pure function of its counter and the key.
/// `words` holds the counter, then the block.
SACCADE_HOST_DEVICE constexpr void philox4x32_in_place(std::uint32_t* words, std::uint32_t key0,
                                                       std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xd2511f53} * words[0];
    const std::uint64_t b = std::uint64_t{0xcd9e8d57} * words[2];
    words[0] = static_cast<std::uint32_t>(b >> 32) ^ words[1] ^ key0;
    words[1] = static_cast<std::uint32_t>(b);
    words[2] = static_cast<std::uint32_t>(a >> 32) ^ words[3] ^ key1;
    words[3] = static_cast<std::uint32_t>(a);
    key0 += 0x9e3779b9;
    key1 += 0xbb67ae85;
  }
}

constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  philox4x32_in_place(counter.data(), key[0], key[1]);
  return counter;
}

}  // namespace saccade
