#include "policy_cases.h"

#include <cmath>
#include <numeric>

#include "saccade/ops/attention.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/norm.h"

namespace saccade::bench {
namespace {

using ops::Activation;
using testing::extents;
using testing::fill_normal_of;
using testing::fill_uniform;
using testing::fill_with;
using testing::OpCase;
using testing::Operand;

constexpr auto kF32 = DType::kF32;
constexpr auto kF16 = DType::kF16;
constexpr auto kBf16 = DType::kBf16;
constexpr auto kNone = Activation::kNone;
constexpr auto kI32 = DType::kI32;
constexpr float kEps = 1e-6f;
constexpr int kHeads = 8;
constexpr int kHeadDim = 256;
constexpr int kCacheRows = 1032;

// As the models choose them.
int parts_of(int rows, int width) { return rows > 64 ? width / 32 : width / 64; }

struct With {
  bool norm = false;
  bool bias = false;
  bool gate = false;
  bool in_place = false;
  bool next = false;
};

struct Linear {
  const char* name;
  int rows;
  int depth;
  int columns;  // of weight
  DType type;
  DType out;
  Activation activation = Activation::kNone;
  With with = {};
};

std::vector<Operand> inputs_of(const Linear& g, int n) {
  const int parts = parts_of(g.rows, g.depth);
  return {{{g.rows, g.depth}, g.type},
          {{g.columns, g.depth}, g.type, fill_normal_of(1 / std::sqrt(float(g.depth)))},
          {{g.columns}, kF32},
          {{n}, kF32},
          {{g.rows, parts}, kF32, fill_uniform(0, 2 * float(g.depth) / float(parts))},
          {{n}, kF32}};
}

OpCase make(const Linear& g) {
  const int n = g.activation == Activation::kGeglu ? g.columns / 2 : g.columns;
  OpCase op{.name = std::string("policy/") + g.name + "/" + extents({g.rows, g.depth, g.columns}),
            .inputs = inputs_of(g, n),
            .outputs = {{{g.rows, n}, g.out}},
            .run = {},
            .exact = {},
            .tolerance = 0,
            .flops = 2.0 * g.rows * g.depth * g.columns,
            .bytes = 2.0 * g.depth * g.columns};
  if (g.with.next) {
    op.outputs.push_back({{g.rows, n}, kBf16});
    op.outputs.push_back({{g.rows, parts_of(g.rows, n)}, kF32});
  }
  op.run = [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
    ops::GemmEpilogue epilogue{.activation = g.activation};
    if (g.with.bias) epilogue.bias = in[2];
    if (g.with.gate) epilogue.gate = in[3];
    if (g.with.norm) epilogue.norm = {.squares = in[4], .eps = kEps};
    if (g.with.in_place) epilogue.residual = out[0];
    if (g.with.next) epilogue.next = {.scale = in[5], .scaled = out[1], .squares = out[2]};
    ops::gemm(s, in[0], in[1], epilogue, out[0]);
  };
  return op;
}

std::vector<int> positions(int first, int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), first);
  return all;
}

OpCase project_qkv(const char* name, int rows, int width, int first_position, bool bias) {
  const int columns = (kHeads + 2) * kHeadDim;
  const int parts = parts_of(rows, width);
  const Shape cache{kCacheRows, 1, kHeadDim};
  return {.name = std::string("policy/") + name + "/" + extents({rows, width, columns}),
          .inputs = {{{rows, width}, kBf16},
                     {{columns, width}, kBf16, fill_normal_of(1 / std::sqrt(float(width)))},
                     {{rows, parts}, kF32, fill_uniform(0, 2 * float(width) / float(parts))},
                     {{columns}, kF32},
                     {{rows}, kI32, fill_with(positions(first_position, rows))},
                     {{kCacheRows, kHeadDim}, kF32}},
          .outputs = {{{rows, columns}, kBf16},
                      {{rows, kHeads, kHeadDim}, kBf16},
                      {cache, kBf16},
                      {cache, kBf16}},
          .run =
              [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
                const ops::RowNorm norm{.squares = in[2], .eps = kEps};
                ops::project_qkv(s, in[0], in[1], norm, bias ? in[3] : Tensor{}, in[4], in[5],
                                 out[0], out[1], out[2], out[3]);
              },
          .exact = {},
          .tolerance = 0,
          .flops = 2.0 * rows * width * columns,
          .bytes = 2.0 * width * columns};
}

OpCase attention(const char* name, int rows, int seen) {
  const Operand cache{{kCacheRows, 1, kHeadDim}, kBf16};
  return {.name = std::string("policy/") + name + "/" + extents({rows, seen, kHeads, kHeadDim}),
          .inputs = {{{rows, kHeads, kHeadDim}, kBf16},
                     cache,
                     cache,
                     {{rows}, kI32, fill_with(std::vector<int>(std::size_t(rows), seen))}},
          .outputs = {{{rows, kHeads * kHeadDim}, kBf16}},
          .run =
              [](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
                ops::attention(s, in[0], in[1], in[2], in[3], 1 / 16.0f, out[0]);
              },
          .exact = {},
          .tolerance = 0,
          .flops = 4.0 * rows * seen * kHeads * kHeadDim,
          .bytes = 0};
}

void add_vision(int views, std::vector<OpCase>& cases) {
  const int rows = 256 * views;
  const int width = 1152;
  const int mlp = 4304;
  cases.push_back(
      {.name = "policy/vision layer_norm/" + extents({rows, width}),
       .inputs = {{{rows, width}, kF32}, {{width}, kF32}, {{width}, kF32}},
       .outputs = {{{rows, width}, kF16}},
       .run =
           [](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
             ops::layer_norm(s, in[0], in[1], in[2], kEps, out[0]);
           },
       .exact = {},
       .tolerance = 0,
       .flops = 0,
       .bytes = 0});
  cases.push_back(
      {.name = "policy/vision attention/" + extents({views, 256, 16, 72}),
       .inputs = {{{views, 256, 3 * width}, kF16}},
       .outputs = {{{views, 256, width}, kF16}},
       .run =
           [](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
             ops::attention_packed(s, in[0], 16, 0.117851f, out[0]);
           },
       .exact = {},
       .tolerance = 0,
       .flops = 4.0 * rows * 256 * width,
       .bytes = 0});
  for (const Linear& g : {
           Linear{"vision qkv", rows, width, 3 * width, kF16, kF16, kNone, {.bias = true}},
           Linear{"vision out",
                  rows,
                  width,
                  width,
                  kF16,
                  kF32,
                  kNone,
                  {.bias = true, .in_place = true}},
           Linear{"vision fc1", rows, width, mlp, kF16, kF16, Activation::kGelu, {.bias = true}},
           Linear{
               "vision fc2", rows, mlp, width, kF16, kF32, kNone, {.bias = true, .in_place = true}},
       }) {
    cases.push_back(make(g));
  }
}

void add_prefix(int rows, std::vector<OpCase>& cases) {
  const int width = 2048;
  const int mlp = 16384;
  cases.push_back(project_qkv("prefix qkv", rows, width, 0, false));
  cases.push_back(attention("prefix attention", rows, rows));
  cases.push_back(make(
      {"prefix out", rows, width, width, kBf16, kF32, kNone, {.in_place = true, .next = true}}));
  cases.push_back(make(
      {"prefix gate_up", rows, width, 2 * mlp, kBf16, kBf16, Activation::kGeglu, {.norm = true}}));
  cases.push_back(make(
      {"prefix down", rows, mlp, width, kBf16, kF32, kNone, {.in_place = true, .next = true}}));
}

/// Of Pi0.5, whose norms have shifts and whose branches have gates, or of Pi0.
void add_expert(int rows, bool adaptive, std::vector<OpCase>& cases) {
  const int width = 1024;
  const int mlp = 4096;
  const int queries = kHeads * kHeadDim;
  constexpr int kPrefixRows = 532;
  cases.push_back(project_qkv("expert qkv", rows, width, kPrefixRows, adaptive));
  cases.push_back(attention("expert attention", rows, kPrefixRows + rows));
  cases.push_back(make({"expert out",
                        rows,
                        queries,
                        width,
                        kBf16,
                        kF32,
                        kNone,
                        {.gate = adaptive, .in_place = true, .next = true}}));
  cases.push_back(make({"expert gate_up",
                        rows,
                        width,
                        2 * mlp,
                        kBf16,
                        kBf16,
                        Activation::kGeglu,
                        {.norm = true, .bias = adaptive}}));
  cases.push_back(make({"expert down",
                        rows,
                        mlp,
                        width,
                        kBf16,
                        kF32,
                        kNone,
                        {.gate = adaptive, .in_place = true, .next = true}}));
}

}  // namespace

std::vector<OpCase> policy_cases() {
  std::vector<OpCase> cases;
  for (const int views : {1, 2, 3}) add_vision(views, cases);
  for (const int rows : {256, 512, 576, 832}) add_prefix(rows, cases);
  for (const int rows : {10, 50}) add_expert(rows, true, cases);
  for (const int rows : {63, 64}) add_expert(rows, false, cases);
  return cases;
}

}  // namespace saccade::bench
