#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/attention/attention.h"
#include "ops/op_case.h"
#include "saccade/ops/attention.h"

namespace saccade::testing {
namespace {

enum class Through { kOp, kReference };

struct Dims {
  int rows;
  int kv_rows;
  int heads;
  int kv_heads;
  int head_dim;
};

/// Where a head's vector of a row starts in q, k or v.
struct Layout {
  int stride;
  int offset;
};

/// One sequence, from `row` of out on; a row sees as many keys as visible says.
void exact_sequence(const Dims& d, float scale, const double* q, Layout q_at, const double* k,
                    Layout k_at, const double* v, Layout v_at, const Values& visible, double* out) {
  Values weights;
  for (int row = 0; row < d.rows; ++row) {
    for (int head = 0; head < d.heads; ++head) {
      const int kv_head = head / (d.heads / d.kv_heads);
      const double* query = q + row * q_at.stride + q_at.offset + head * d.head_dim;
      weights.assign(std::size_t(visible[row]), 0);
      double largest = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::size_t j = 0; j < weights.size(); ++j) {
        const double* key = k + j * k_at.stride + k_at.offset + kv_head * d.head_dim;
        for (int i = 0; i < d.head_dim; ++i) weights[j] += scale * query[i] * key[i];
        largest = std::max(largest, weights[j]);
      }
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      double* o = out + (row * d.heads + head) * d.head_dim;
      std::fill_n(o, d.head_dim, 0);
      for (std::size_t j = 0; j < weights.size(); ++j) {
        const double* value = v + j * v_at.stride + v_at.offset + kv_head * d.head_dim;
        for (int i = 0; i < d.head_dim; ++i) o[i] += weights[j] / sum * value[i];
      }
    }
  }
}

Values exact(const Dims& d, float scale, std::span<const Values> in, const Values& visible) {
  Values out(std::size_t(d.rows) * d.heads * d.head_dim);
  const Layout q_at{d.heads * d.head_dim, 0};
  const Layout kv_at{d.kv_heads * d.head_dim, 0};
  exact_sequence(d, scale, in[0].data(), q_at, in[1].data(), kv_at, in[2].data(), kv_at, visible,
                 out.data());
  return out;
}

double flops_of(const Dims& d) { return 4.0 * d.rows * d.kv_rows * d.heads * d.head_dim; }

double bytes_of(const Dims& d, DType dtype) {
  return (2.0 * d.rows * d.heads + 2.0 * d.kv_rows * d.kv_heads) * d.head_dim *
         double(size_of(dtype));
}

void run(Through through, const Stream& s, std::span<const Tensor> in, Tensor visible, float scale,
         Tensor out) {
  if (through == Through::kOp) {
    return ops::attention(s, in[0], in[1], in[2], visible, scale, out);
  }
  ops::detail::attention_cpu(
      ops::detail::attention_params(s, in[0], in[1], in[2], visible, scale, out));
}

OpCase make(Dims d, DType dtype, Through through = Through::kOp) {
  const float scale = 1 / std::sqrt(float(d.head_dim));
  const Operand kv{{d.kv_rows, d.kv_heads, d.head_dim}, dtype};
  return {
      .name = std::string(through == Through::kOp ? "attention/" : "attention_cpu/") +
              name_of(dtype) + "/" + extents({d.rows, d.kv_rows, d.heads, d.kv_heads, d.head_dim}),
      .inputs = {{{d.rows, d.heads, d.head_dim}, dtype}, kv, kv},
      .outputs = {{{d.rows, d.heads * d.head_dim}, dtype}},
      .run = [=](const Stream& s, std::span<const Tensor> in,
                 std::span<const Tensor> out) { run(through, s, in, {}, scale, out[0]); },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> {
        return {exact(d, scale, in, Values(d.rows, d.kv_rows))};
      },
      .tolerance = tolerance_of(dtype),
      .flops = flops_of(d),
      .bytes = bytes_of(d, dtype),
  };
}

/// Normal values, but NaN in the rows that nobody sees.
Fill fill_seen(int seen) {
  return [=](Tensor tensor, std::mt19937& random) {
    fill_normal(tensor.rows(0, seen), random);
    const Tensor unseen = tensor.rows(seen, tensor.shape[0] - seen);
    std::fill_n(unseen.as<std::byte>(), unseen.bytes(), std::byte{0xff});
  };
}

OpCase masked(Dims d, DType dtype, std::vector<int> visible, Through through = Through::kOp) {
  const float scale = 1 / std::sqrt(float(d.head_dim));
  OpCase op = make(d, dtype, through);
  op.name += "/masked" + std::to_string(visible.front()) + "to" + std::to_string(visible.back());
  const int seen = *std::max_element(visible.begin(), visible.end());
  op.inputs[1].fill = op.inputs[2].fill = fill_seen(seen);
  op.inputs.push_back({{d.rows}, DType::kI32, fill_with(visible)});
  op.run = [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
    run(through, s, in, in[3], scale, out[0]);
  };
  op.exact = [=](std::span<const Values> in) -> std::vector<Values> {
    return {exact(d, scale, in, in[3])};
  };
  return op;
}

/// Logits in the hundreds: exp() of an unshifted logit would overflow.
OpCase steep(OpCase op) {
  op.name += "/steep";
  const Fill plain = op.inputs[0].fill;
  op.inputs[0].fill = [=](Tensor q, std::mt19937& random) {
    plain(q, random);
    for (std::int64_t i = 0; i < q.shape.size(); ++i) q.as<float>()[i] *= 100;
  };
  op.tolerance = 1e-4;  // a logit near 300 is known to 300 * 2^-24 * sqrt(head_dim) at best
  return op;
}

OpCase packed(int batch, int rows, int heads, int head_dim, DType dtype,
              Through through = Through::kOp) {
  const Dims d{rows, rows, heads, heads, head_dim};
  const int width = heads * head_dim;
  const float scale = 1 / std::sqrt(float(head_dim));
  return {
      .name = std::string(through == Through::kOp ? "attention_packed/" : "attention_packed_cpu/") +
              name_of(dtype) + "/" + extents({batch, rows, heads, head_dim}),
      .inputs = {{{batch, rows, 3 * width}, dtype}},
      .outputs = {{{batch, rows, width}, dtype}},
      .run =
          [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
            if (through == Through::kOp) {
              return ops::attention_packed(s, in[0], heads, scale, out[0]);
            }
            ops::detail::attention_cpu(
                ops::detail::attention_packed_params(s, in[0], heads, scale, out[0]));
          },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> {
        Values out(std::size_t(batch) * rows * width);
        for (int b = 0; b < batch; ++b) {
          const double* qkv = in[0].data() + b * rows * 3 * width;
          exact_sequence(d, scale, qkv, {3 * width, 0}, qkv, {3 * width, width}, qkv,
                         {3 * width, 2 * width}, Values(rows, rows), out.data() + b * rows * width);
        }
        return {out};
      },
      .tolerance = tolerance_of(dtype),
      .flops = batch* flops_of(d),
      .bytes = batch* bytes_of(d, dtype),
  };
}

void add_both_ways(std::vector<OpCase>& cases, DType dtype) {
  for (Through through : {Through::kOp, Through::kReference}) {
    cases.push_back(make({1, 1, 1, 1, 1}, dtype, through));
    cases.push_back(make({3, 1, 4, 2, 5}, dtype, through));  // one key
    cases.push_back(make({7, 17, 6, 3, 9}, dtype, through));
    cases.push_back(masked({5, 9, 4, 1, 6}, dtype, {1, 3, 3, 8, 2}, through));
    cases.push_back(packed(3, 5, 4, 7, dtype, through));
  }
}

}  // namespace

std::vector<OpCase> attention_cases() {
  std::vector<OpCase> cases;
  add_both_ways(cases, DType::kF32);
  add_both_ways(cases, DType::kBf16);
  // A state row that sees the prefix and itself, then actions that see everything but padding.
  std::vector<int> suffix(51, 592);
  suffix[0] = 543;
  const std::vector<OpCase> more{
      // One less, and one more, than a block of rows or keys.
      make({255, 3, 1, 1, 4}, DType::kF32),
      make({257, 1025, 1, 1, 4}, DType::kF32),
      make({3, 1023, 2, 1, 4}, DType::kF32),
      make({3, 1025, 2, 1, 4}, DType::kF32),
      make({3, 1025, 2, 1, 4}, DType::kBf16),
      masked({300, 2100, 2, 2, 3}, DType::kF32, std::vector<int>(300, 2049)),
      masked({4, 1100, 2, 1, 8}, DType::kBf16, {1, 1024, 1025, 1099}),
      steep(make({9, 1500, 2, 1, 16}, DType::kF32)),
      make({2, 5, 2, 1, 512}, DType::kBf16),
      make({2, 5, 2, 1, 513}, DType::kBf16),  // wider than attention_blas goes
      masked({51, 600, 8, 1, 256}, DType::kBf16, suffix),
      masked({51, 600, 8, 1, 256}, DType::kF32, suffix),
      packed(2, 256, 4, 72, DType::kBf16),  // SigLIP with fewer heads
  };
  cases.insert(cases.end(), more.begin(), more.end());
  return cases;
}

}  // namespace saccade::testing
