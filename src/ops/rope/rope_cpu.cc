// The reference. Written to be read: no blocking, no vectors, no threads.

#include <algorithm>

#include "ops/elements.h"
#include "ops/rope/rope.h"

namespace saccade::ops::detail {
namespace {

/// Rotates the heads of one row; angles holds head_dim / 2 cosines, then as many sines.
template <typename T>
void rotate(const T* x, int heads, int head_dim, const float* angles, T* out) {
  const int half = head_dim / 2;
  for (int head = 0; head < heads; ++head, x += head_dim, out += head_dim) {
    for (int i = 0; i < half; ++i) {
      const float cosine = angles[i];
      const float sine = angles[half + i];
      const float a = to_float(x[i]);
      const float b = to_float(x[i + half]);
      out[i] = from_float<T>(a * cosine - b * sine);
      out[i + half] = from_float<T>(b * cosine + a * sine);
    }
  }
}

template <typename T>
void rope(const RopeParams& p) {
  const std::size_t queries = std::size_t(p.heads) * p.head_dim;
  const std::size_t keys = std::size_t(p.kv_heads) * p.head_dim;
  for (std::size_t row = 0; row < std::size_t(p.rows); ++row) {
    const T* qkv = static_cast<const T*>(p.qkv) + row * (queries + 2 * keys);
    const std::size_t cache_row = std::size_t(p.positions[row]) * keys;
    const float* angles = p.table + std::size_t(p.positions[row]) * p.head_dim;
    if (p.q) rotate(qkv, p.heads, p.head_dim, angles, static_cast<T*>(p.q) + row * queries);
    rotate(qkv + queries, p.kv_heads, p.head_dim, angles, static_cast<T*>(p.k) + cache_row);
    std::copy_n(qkv + queries + keys, keys, static_cast<T*>(p.v) + cache_row);
  }
}

}  // namespace

void rope_cpu(const RopeParams& p) {
  visit_type(p.dtype, [&]<typename T>() { rope<T>(p); });
}

}  // namespace saccade::ops::detail
