#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/attention/attention.h"
#include "ops/op_case.h"
#include "saccade/ops/attention.h"
#include "scaled_matrix.h"

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
      weights.resize(std::size_t(visible[row]));
      double largest = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::size_t j = 0; j < weights.size(); ++j) {
        const double* key = k + j * k_at.stride + k_at.offset + kv_head * d.head_dim;
        double dot = 0;
        for (int i = 0; i < d.head_dim; ++i) dot += query[i] * key[i];
        weights[j] = scale * dot;
        largest = std::max(largest, weights[j]);
      }
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      double* o = out + (row * d.heads + head) * d.head_dim;
      std::fill_n(o, d.head_dim, 0);
      for (std::size_t j = 0; j < weights.size(); ++j) {
        const double* value = v + j * v_at.stride + v_at.offset + kv_head * d.head_dim;
        const double share = weights[j] / sum;
        for (int i = 0; i < d.head_dim; ++i) o[i] += share * value[i];
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
      ops::detail::attention_params(s, in[0], in[1], in[2], visible, scale, out, {}));
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
      .host_only = through == Through::kReference,
  };
}

/// With a result of another type than its operands have.
OpCase giving(OpCase op, DType out) {
  op.name += std::string("/to_") + name_of(out);
  op.outputs[0].dtype = out;
  op.tolerance = std::max(op.tolerance, tolerance_of(out));
  return op;
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
  op.inputs[0].fill = fill_normal_of(100);
  // A logit near 300 is known to 300 * 2^-24 * sqrt(head_dim) at best.
  op.tolerance = std::max(op.tolerance, 1e-4);
  return op;
}

/// Also with e4m3 of the result, which is then scratch.
OpCase quantized(OpCase op, Scales scales) {
  const Operand out = op.outputs[0];
  const int rows = out.shape[0], columns = out.shape[1];
  const int blocks = blocks_of(scales, columns);
  const float scale = 1 / std::sqrt(float(op.inputs[0].shape[2]));
  op.name += std::string("/quantized_") + name_of(scales);
  op.tolerance *= std::sqrt(2);  // a value and its scale may each be rounded to out's type first
  op.scratch = {out};
  op.outputs = {{out.shape, DType::kE4m3}, {{blocks, rows}, DType::kF32}};
  op.run = [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> results) {
    const Tensor visible = in.size() > 3 ? in[3] : Tensor{};
    ops::attention(s, in[0], in[1], in[2], visible, scale, results[2], {results[0], results[1]});
  };
  op.exact = [=, exact = std::move(op.exact)](std::span<const Values> in) {
    return exact_quantized(exact(in)[0], rows, columns, blocks);
  };
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
      .host_only = through == Through::kReference,
  };
}

void add_both_ways(std::vector<OpCase>& cases, DType dtype) {
  for (Through through : {Through::kOp, Through::kReference}) {
    cases.push_back(make({1, 1, 1, 1, 1}, dtype, through));
    cases.push_back(make({3, 1, 4, 2, 5}, dtype, through));  // one key
    cases.push_back(make({7, 17, 6, 3, 9}, dtype, through));
    cases.push_back(masked({5, 9, 4, 1, 6}, dtype, {1, 3, 3, 8, 2}, through));
    cases.push_back(packed(3, 5, 4, 7, dtype, through));
    for (DType out : {DType::kF32, DType::kBf16, DType::kF16}) {
      if (out != dtype) cases.push_back(giving(make({7, 17, 6, 3, 9}, dtype, through), out));
    }
  }
}

/// A policy's prefix: every row sees the tokens that are there, not the padding behind them.
OpCase prefix(int rows, int visible) {
  return masked({rows, rows, 8, 1, 256}, DType::kBf16, std::vector<int>(rows, visible));
}

/// A policy's suffix against the cache: a first row, such as the state, may see fewer keys.
OpCase suffix(int rows, int kv_rows, int first_visible, int visible, DType dtype = DType::kBf16) {
  std::vector<int> all(rows, visible);
  all[0] = first_visible;
  return masked({rows, kv_rows, 8, 1, 256}, dtype, all);
}

/// What a policy runs.
std::vector<OpCase> policy_cases() {
  return {
      packed(1, 256, 16, 72, DType::kF16),
      packed(2, 256, 16, 72, DType::kF16),
      packed(3, 256, 16, 72, DType::kF16),
      prefix(64, 33),
      prefix(576, 532),
      suffix(50, 640, 582, 582),
      suffix(51, 640, 533, 583),
      suffix(51, 600, 543, 592),
      suffix(51, 600, 543, 592, DType::kF32),
      suffix(50, 1032, 1018, 1018),
      suffix(10, 640, 542, 542),
      suffix(63, 640, 595, 595),
      suffix(64, 832, 800, 801),
      suffix(1, 640, 533, 533),
      giving(suffix(50, 640, 582, 582), DType::kF16),
      giving(suffix(51, 600, 543, 592), DType::kF16),
      giving(suffix(10, 640, 542, 542), DType::kF16),
      giving(suffix(64, 832, 800, 801), DType::kF16),
      giving(suffix(70, 640, 602, 602), DType::kF16),
      giving(suffix(50, 640, 582, 582), DType::kF32),
  };
}

/// Heads of 8 to 256 in 16-bit types, with ends of tiles of rows, keys and columns inside.
std::vector<OpCase> tile_cases() {
  std::vector<int> rising(20);
  for (int row = 0; row < 20; ++row) rising[std::size_t(row)] = 1 + 9 * row;
  const std::vector<int> falling(rising.rbegin(), rising.rend());
  return {
      make({1, 1, 1, 1, 8}, DType::kF16),
      make({65, 63, 2, 2, 16}, DType::kF16),
      make({20, 333, 4, 2, 24}, DType::kBf16),
      make({64, 65, 7, 1, 40}, DType::kBf16),
      make({13, 257, 7, 1, 72}, DType::kF16),
      make({30, 64, 3, 3, 80}, DType::kBf16),
      make({17, 130, 6, 2, 128}, DType::kF16),
      make({9, 31, 7, 1, 200}, DType::kBf16),
      make({70, 96, 8, 1, 256}, DType::kF16),
      masked({20, 200, 4, 2, 64}, DType::kF16, rising),
      masked({20, 200, 3, 1, 72}, DType::kBf16, falling),
      masked({20, 200, 8, 1, 256}, DType::kBf16, falling),
      steep(make({20, 300, 4, 1, 72}, DType::kF16)),
      steep(make({20, 300, 4, 1, 256}, DType::kBf16)),
      packed(5, 70, 3, 32, DType::kBf16),
      packed(16, 37, 16, 72, DType::kF16),  // more rows than processors times 64
  };
}

/// What a prefix in e4m3 runs, and around it.
std::vector<OpCase> quantized_cases() {
  std::vector<int> rising(130);
  for (int row = 0; row < 130; ++row) rising[std::size_t(row)] = 1 + row;
  const Dims one_tile{66, 70, 8, 1, 256};
  std::vector<OpCase> cases{
      quantized(prefix(128, 100), Scales::kBlocks),
      quantized(prefix(576, 532), Scales::kBlocks),
      quantized(make({192, 192, 8, 1, 256}, DType::kBf16), Scales::kBlocks),
      quantized(make({65, 63, 1, 1, 256}, DType::kBf16), Scales::kBlocks),
      quantized(make({100, 65, 2, 1, 256}, DType::kBf16), Scales::kBlocks),
      quantized(make({70, 333, 4, 1, 256}, DType::kBf16), Scales::kBlocks),
      quantized(make({66, 1, 16, 1, 256}, DType::kBf16), Scales::kBlocks),
      quantized(masked({130, 150, 8, 1, 256}, DType::kBf16, rising), Scales::kBlocks),
      quantized(steep(make(one_tile, DType::kBf16)), Scales::kBlocks),
      quantized(make(one_tile, DType::kBf16), Scales::kRows),
      quantized(prefix(64, 33), Scales::kBlocks),
      quantized(suffix(50, 640, 582, 582), Scales::kBlocks),
      quantized(make({13, 37, 7, 1, 72}, DType::kF16), Scales::kBlocks),
      quantized(make({17, 30, 6, 2, 128}, DType::kBf16), Scales::kRows),
  };
  for (DType type : {DType::kF32, DType::kBf16, DType::kF16}) {
    for (Scales scales : {Scales::kRows, Scales::kBlocks}) {
      cases.push_back(quantized(make({1, 1, 1, 1, 1}, type), scales));
      cases.push_back(quantized(make({7, 17, 6, 3, 9}, type), scales));
      cases.push_back(quantized(masked({5, 9, 4, 1, 36}, type, {1, 3, 3, 8, 2}), scales));
    }
  }
  return cases;
}

}  // namespace

std::vector<OpCase> attention_cases() {
  std::vector<OpCase> cases;
  add_both_ways(cases, DType::kF32);
  add_both_ways(cases, DType::kBf16);
  add_both_ways(cases, DType::kF16);
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
      packed(2, 256, 4, 72, DType::kBf16),
      packed(1, 256, 4, 72, DType::kF32),
  };
  for (const auto& list : {more, policy_cases(), tile_cases(), quantized_cases()}) {
    cases.insert(cases.end(), list.begin(), list.end());
  }
  return cases;
}

}  // namespace saccade::testing
