// The reference. Written to be read: no blocking, no vectors, no threads.

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/attention/attention.h"
#include "ops/elements.h"

namespace saccade::ops::detail {
namespace {

/// One query against the keys it sees, whose number is the size of logits. Its result begins at
/// element `first` of out.
template <typename T>
void attend(const AttentionParams& p, const T* q, const T* k, const T* v,
            std::vector<float>& logits, std::int64_t first) {
  for (std::size_t j = 0; j < logits.size(); ++j) {
    const T* key = k + j * std::size_t(p.kv_stride);
    float dot = 0;
    for (int i = 0; i < p.head_dim; ++i) dot += to_float(q[i]) * to_float(key[i]);
    logits[j] = p.scale * dot;
  }
  const float largest = *std::max_element(logits.begin(), logits.end());
  float sum = 0;
  for (float& logit : logits) sum += logit = std::exp(logit - largest);

  for (int i = 0; i < p.head_dim; ++i) {
    float mean = 0;
    for (std::size_t j = 0; j < logits.size(); ++j) {
      mean += logits[j] * to_float(v[j * std::size_t(p.kv_stride) + std::size_t(i)]);
    }
    store(p.out, p.out_type, first + i, mean / sum);
  }
}

template <typename T>
void attention(const AttentionParams& p) {
  std::vector<float> logits;
  for (std::int64_t sequence = 0; sequence < p.sequences; ++sequence) {
    const std::int64_t first_key = sequence * p.kv_rows * p.kv_stride;
    for (int row = 0; row < p.rows; ++row) {
      logits.resize(std::size_t(p.visible ? p.visible[row] : p.kv_rows));
      const std::int64_t r = sequence * p.rows + row;
      for (int head = 0; head < p.heads; ++head) {
        const int query = head * p.head_dim;
        const int key = head / (p.heads / p.kv_heads) * p.head_dim;
        attend(p, static_cast<const T*>(p.q) + r * p.q_stride + query,
               static_cast<const T*>(p.k) + first_key + key,
               static_cast<const T*>(p.v) + first_key + key, logits, r * p.out_stride + query);
      }
    }
  }
}

}  // namespace

void attention_cpu(const AttentionParams& p) {
  visit_type(p.dtype, [&]<typename T>() { attention<T>(p); });
}

}  // namespace saccade::ops::detail
