// attention on OpenBLAS: both products by sgemm, with a softmax that runs over blocks of keys.
//
// Rows are taken in runs that see the same number of keys. So no logit is ever masked, and a key
// that a row does not see cannot reach it, not even as 0 * NaN.

#include <cblas.h>

#include <algorithm>
#include <limits>

#include "ops/activation/functions.h"
#include "ops/attention/attention.h"
#include "ops/elements.h"
#include "ops/scratch.h"

namespace saccade::ops::detail {
namespace {

constexpr int kRows = 256;
constexpr int kKeys = 1024;

struct Scratch {
  float q[kRows * kMaxBlasHeadDim];
  float kv[kKeys * kMaxBlasHeadDim];
  float logits[kRows * kKeys];
  float sums[kRows * kMaxBlasHeadDim];  // of exp(logit - largest) v
  float largest[kRows];
  float total[kRows];  // of exp(logit - largest)
};

/// One head's matrices, from the first row of a block and the first key of its sequence.
struct Head {
  View q;
  View k;
  View v;
  void* out;
};

/// Replaces a row's logits by exp(logit - largest), and rescales what earlier blocks of keys have
/// left in the row when `largest` grows.
void softmax_step(float* logits, int keys, float& largest, float& total, float* sums,
                  int head_dim) {
  float block_largest = logits[0];
  for (int j = 1; j < keys; ++j) block_largest = std::max(block_largest, logits[j]);
  const float before = largest;
  largest = std::max(before, block_largest);
  for (int j = 0; j < keys; ++j) logits[j] = fast_exp(logits[j] - largest);
  float block_total = 0;
  for (int j = 0; j < keys; ++j) block_total += logits[j];
  const float shrink = fast_exp(before - largest);
  total = total * shrink + block_total;
  for (int i = 0; i < head_dim; ++i) sums[i] *= shrink;
}

/// Adds keys [begin, begin + keys) to the block's sums.
void add_keys(const AttentionParams& p, const Head& head, const F32View& q, int rows, int begin,
              int keys, Scratch& s) {
  const int dim = p.head_dim;
  const F32View k = as_f32(head.k.at(begin, 0), keys, dim, s.kv);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, keys, dim, p.scale, q.data, q.stride,
              k.data, k.stride, 0.0f, s.logits, keys);
  for (int row = 0; row < rows; ++row) {
    softmax_step(s.logits + row * keys, keys, s.largest[row], s.total[row], s.sums + row * dim,
                 dim);
  }
  const F32View v = as_f32(head.v.at(begin, 0), keys, dim, s.kv);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, dim, keys, 1.0f, s.logits, keys,
              v.data, v.stride, 1.0f, s.sums, dim);
}

/// At most kRows rows of one head, all of which see the first `visible` keys.
void attend(const AttentionParams& p, const Head& head, int rows, int visible, Scratch& s) {
  const int dim = p.head_dim;
  const F32View q = as_f32(head.q, rows, dim, s.q);
  std::fill_n(s.largest, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(s.total, rows, 0.0f);
  std::fill_n(s.sums, rows * dim, 0.0f);
  for (int begin = 0; begin < visible; begin += kKeys) {
    add_keys(p, head, q, rows, begin, std::min(kKeys, visible - begin), s);
  }
  for (int row = 0; row < rows; ++row) {
    const float* sums = s.sums + row * dim;
    for (int i = 0; i < dim; ++i) {
      store(head.out, p.out_type, std::int64_t(row) * p.out_stride + i, sums[i] / s.total[row]);
    }
  }
}

void attend_all_heads(const AttentionParams& p, int sequence, int row, int rows, int visible,
                      Scratch& scratch) {
  const std::int64_t r = std::int64_t(sequence) * p.rows + row;
  const std::int64_t key = std::int64_t(sequence) * p.kv_rows;
  auto* out = static_cast<std::byte*>(p.out);
  for (int head = 0; head < p.heads; ++head) {
    const int column = head * p.head_dim;
    const int kv_column = head / (p.heads / p.kv_heads) * p.head_dim;
    const std::int64_t out_index = r * p.out_stride + column;
    attend(p,
           {.q = View{p.q, p.dtype, p.q_stride}.at(r, column),
            .k = View{p.k, p.dtype, p.kv_stride}.at(key, kv_column),
            .v = View{p.v, p.dtype, p.kv_stride}.at(key, kv_column),
            .out = out + out_index * std::int64_t(size_of(p.out_type))},
           rows, visible, scratch);
  }
}

}  // namespace

void attention_blas(const AttentionParams& p) {
  Scratch& scratch = thread_scratch<Scratch>();
  for (int sequence = 0; sequence < p.sequences; ++sequence) {
    for (int row = 0; row < p.rows;) {
      const int visible = p.visible ? p.visible[row] : p.kv_rows;
      int rows = 1;
      while (rows < kRows && row + rows < p.rows &&
             (!p.visible || p.visible[row + rows] == visible)) {
        ++rows;
      }
      attend_all_heads(p, sequence, row, rows, visible, scratch);
      row += rows;
    }
  }
}

}  // namespace saccade::ops::detail
