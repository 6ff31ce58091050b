#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "capi/status.h"
#include "core/check.h"

namespace saccade::capi {

/// Bytes of a struct in the first version that had it: what every caller has at least.
template <typename T>
inline constexpr std::size_t kFirstSize = 0;
template <>
inline constexpr std::size_t kFirstSize<saccade_info> = 160;
template <>
inline constexpr std::size_t kFirstSize<saccade_realtime> = 32;
template <>
inline constexpr std::size_t kFirstSize<saccade_observation> = 96;
template <>
inline constexpr std::size_t kFirstSize<saccade_chunk> = 104;
template <>
inline constexpr std::size_t kFirstSize<saccade_stats> = 48;

/// No caller's struct is larger; a size beyond it was not set.
inline constexpr std::size_t kMaxSize = 4096;

/// The caller's struct as this library knows it: members that an older caller lacks are zero, and
/// those that only a newer one has must be.
template <typename T>
T read_sized(const char* where, const char* name, const T* given) {
  SACCADE_CHECK(given != nullptr, where, name, " must not be NULL");
  const std::size_t size = given->size;
  SACCADE_CHECK(size >= kFirstSize<T> && size <= kMaxSize, where, name,
                ".size must be the struct's sizeof, ", sizeof(T), " in this version, it is ", size);
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  const bool unknown =
      size > sizeof(T) &&
      std::any_of(bytes + sizeof(T), bytes + size, [](unsigned char byte) { return byte != 0; });
  if (unknown) {
    throw NotSupported("[" + std::string(where) + "] " + name +
                       " sets a member that this version of the library, " + saccade_version() +
                       ", does not know");
  }
  T known{};
  std::memcpy(&known, bytes, std::min(size, sizeof(T)));
  return known;
}

/// Gives the caller's struct the values of one that read_sized() returned.
template <typename T>
void write_sized(const T& known, T* given) {
  std::memcpy(given, &known, std::min(known.size, sizeof(T)));
}

}  // namespace saccade::capi
