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
constexpr auto kE4m3 = DType::kE4m3;
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

/// The types of a product's operands.
struct Types {
  DType x = kBf16;
  DType weight = kBf16;

  std::string suffix() const {
    if (weight != kE4m3) return "";
    return x == kE4m3 ? "/e4m3" : "/e4m3 weight";
  }
};

/// Blocks of scales in a row of x.
enum class Blocks { kRow, kMany };

struct Linear {
  const char* name;
  int rows;
  int depth;
  int columns;  // of weight
  Types types;
  DType out;
  Activation activation = Activation::kNone;
  With with = {};
  Blocks blocks = Blocks::kRow;
};

/// Values that use what the type has: e4m3 has scales for the rest.
Operand values(Shape shape, DType type, float deviation) {
  return {shape, type, fill_normal_of(type == kE4m3 ? 64.0f : deviation)};
}

Operand scales(int blocks, int rows, float deviation) {
  const float scale = deviation / 64;
  return {{blocks, rows}, kF32, fill_uniform(0.5f * scale, 1.5f * scale)};
}

std::vector<Operand> inputs_of(const Linear& g, int n) {
  const int parts = parts_of(g.rows, g.depth);
  const float deviation = 1 / std::sqrt(float(g.depth));
  return {values({g.rows, g.depth}, g.types.x, 1),
          values({g.columns, g.depth}, g.types.weight, deviation),
          {{g.columns}, kF32},
          {{n}, kF32},
          {{g.rows, parts}, kF32, fill_uniform(0, 2 * float(g.depth) / float(parts))},
          {{n}, kF32},
          scales(g.blocks == Blocks::kRow ? 1 : ops::scale_blocks(g.depth), g.rows, 1),
          scales(1, g.columns, deviation)};
}

/// With its scales, if it has any.
ops::ScaledMatrix scaled(const Tensor& values, const Tensor& scales) {
  return values.dtype == kE4m3 ? ops::ScaledMatrix{values, scales} : ops::ScaledMatrix{values};
}

OpCase make(const Linear& g) {
  const int n = g.activation == Activation::kGeglu ? g.columns / 2 : g.columns;
  const bool quantized = g.activation == Activation::kGeglu && g.types.x == kE4m3;
  OpCase op{.name = std::string("policy/") + g.name + "/" + extents({g.rows, g.depth, g.columns}) +
                    g.types.suffix(),
            .inputs = inputs_of(g, n),
            .outputs = {{{g.rows, n}, g.out}},
            .run = {},
            .exact = {},
            .tolerance = 0,
            .flops = 2.0 * g.rows * g.depth * g.columns,
            .bytes = double(size_of(g.types.weight)) * g.depth * g.columns};
  if (quantized) {
    op.outputs.push_back({{g.rows, n}, kE4m3});
    op.outputs.push_back({{ops::scale_blocks(n), g.rows}, kF32});
  }
  if (g.with.next) {
    op.outputs.push_back({{g.rows, n}, g.types.x});
    op.outputs.push_back({{g.rows, parts_of(g.rows, n)}, kF32});
  }
  op.run = [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
    ops::GemmEpilogue epilogue{.activation = g.activation};
    if (g.with.bias) epilogue.bias = in[2];
    if (g.with.gate) epilogue.gate = in[3];
    if (g.with.norm) epilogue.norm = {.squares = in[4], .eps = kEps};
    if (g.with.in_place) epilogue.residual = out[0];
    if (g.with.next) epilogue.next = {.scale = in[5], .scaled = out[1], .squares = out[2]};
    if (quantized) epilogue.quantized = {out[1], out[2]};
    ops::gemm(s, scaled(in[0], in[6]), scaled(in[1], in[7]), epilogue, out[0]);
  };
  return op;
}

std::vector<int> positions(int first, int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), first);
  return all;
}

OpCase project_qkv(const char* name, int rows, int width, int first_position, bool bias,
                   Types types) {
  const int columns = (kHeads + 2) * kHeadDim;
  const int parts = parts_of(rows, width);
  const Shape cache{kCacheRows, 1, kHeadDim};
  const float deviation = 1 / std::sqrt(float(width));
  return {.name = std::string("policy/") + name + "/" + extents({rows, width, columns}) +
                  types.suffix(),
          .inputs = {values({rows, width}, types.x, 1),
                     values({columns, width}, types.weight, deviation),
                     {{rows, parts}, kF32, fill_uniform(0, 2 * float(width) / float(parts))},
                     {{columns}, kF32},
                     {{rows}, kI32, fill_with(positions(first_position, rows))},
                     {{kCacheRows, kHeadDim}, kF32},
                     scales(1, rows, 1),
                     scales(1, columns, deviation)},
          .outputs = {{{rows, columns}, kBf16},
                      {{rows, kHeads, kHeadDim}, kBf16},
                      {cache, kBf16},
                      {cache, kBf16}},
          .run =
              [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
                ops::RowNorm norm{.squares = in[2], .eps = kEps};
                if (types.x == kE4m3) norm = {};
                ops::project_qkv(s, scaled(in[0], in[6]), scaled(in[1], in[7]), norm,
                                 bias ? in[3] : Tensor{}, in[4], in[5], out[0], out[1], out[2],
                                 out[3]);
              },
          .exact = {},
          .tolerance = 0,
          .flops = 2.0 * rows * width * columns,
          .bytes = double(size_of(types.weight)) * width * columns};
}

OpCase attention(const char* name, int rows, int seen, bool quantized) {
  const Operand cache{{kCacheRows, 1, kHeadDim}, kBf16};
  const int columns = kHeads * kHeadDim;
  return {.name = std::string("policy/") + name + "/" + extents({rows, seen, kHeads, kHeadDim}) +
                  (quantized ? "/e4m3" : ""),
          .inputs = {{{rows, kHeads, kHeadDim}, kBf16},
                     cache,
                     cache,
                     {{rows}, kI32, fill_with(std::vector<int>(std::size_t(rows), seen))}},
          .outputs = {{{rows, columns}, kBf16},
                      {{rows, columns}, kE4m3},
                      {{ops::scale_blocks(columns), rows}, kF32}},
          .run =
              [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
                const ops::ScaledMatrix e4m3{out[1], out[2]};
                ops::attention(s, in[0], in[1], in[2], in[3], 1 / 16.0f, out[0],
                               quantized ? e4m3 : ops::ScaledMatrix{});
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
  constexpr Types kHalf = {kF16, kF16};
  const With adds{.bias = true, .in_place = true};
  for (const Linear& g : {
           Linear{"vision qkv", rows, width, 3 * width, kHalf, kF16, kNone, {.bias = true}},
           Linear{"vision out", rows, width, width, kHalf, kF32, kNone, adds},
           Linear{"vision fc1", rows, width, mlp, kHalf, kF16, Activation::kGelu, {.bias = true}},
           Linear{"vision fc2", rows, mlp, width, kHalf, kF32, kNone, adds},
       }) {
    cases.push_back(make(g));
  }
}

OpCase rms_norm(int rows, int width) {
  return {.name = "policy/prefix rms_norm/" + extents({rows, width}) + "/e4m3",
          .inputs = {{{rows, width}, kF32}, {{width}, kF32}},
          .outputs = {{{rows, width}, kE4m3}, {{1, rows}, kF32}},
          .run =
              [](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
                ops::rms_norm(s, in[0], in[1], {}, kEps, {out[0], out[1]});
              },
          .exact = {},
          .tolerance = 0,
          .flops = 0,
          .bytes = 0};
}

/// In bf16, norms are part of what stores their rows; in e4m3 they run by themselves.
void add_prefix(int rows, DType type, std::vector<OpCase>& cases) {
  const int width = 2048;
  const int mlp = 16384;
  const bool e4m3 = type == kE4m3;
  const Types types{type, type};
  const With adds{.in_place = true, .next = !e4m3};
  if (e4m3) cases.push_back(rms_norm(rows, width));
  cases.push_back(project_qkv("prefix qkv", rows, width, 0, false, types));
  cases.push_back(attention("prefix attention", rows, rows, e4m3));
  for (const Linear& g : {
           Linear{"prefix out", rows, width, width, types, kF32, kNone, adds, Blocks::kMany},
           Linear{"prefix gate_up",
                  rows,
                  width,
                  2 * mlp,
                  types,
                  kBf16,
                  Activation::kGeglu,
                  {.norm = !e4m3}},
           Linear{"prefix down", rows, mlp, width, types, kF32, kNone, adds, Blocks::kMany},
       }) {
    cases.push_back(make(g));
  }
}

/// Of Pi0.5, whose norms have shifts and whose branches have gates, or of Pi0.
void add_expert(int rows, bool adaptive, DType weight, std::vector<OpCase>& cases) {
  const int width = 1024;
  const int mlp = 4096;
  const int queries = kHeads * kHeadDim;
  constexpr int kPrefixRows = 532;
  const DType x = weight == kE4m3 ? kF16 : kBf16;
  const Types types{x, weight};
  const With adds{.gate = adaptive, .in_place = true, .next = true};
  cases.push_back(project_qkv("expert qkv", rows, width, kPrefixRows, adaptive, types));
  if (weight == kBf16) {
    cases.push_back(attention("expert attention", rows, kPrefixRows + rows, false));
  }
  for (const Linear& g : {
           Linear{"expert out", rows, queries, width, types, kF32, kNone, adds},
           Linear{"expert gate_up",
                  rows,
                  width,
                  2 * mlp,
                  types,
                  x,
                  Activation::kGeglu,
                  {.norm = true, .bias = adaptive}},
           Linear{"expert down", rows, mlp, width, types, kF32, kNone, adds},
       }) {
    cases.push_back(make(g));
  }
}

}  // namespace

std::vector<OpCase> policy_cases() {
  std::vector<OpCase> cases;
  for (const int views : {1, 2, 3}) add_vision(views, cases);
  for (const DType type : {kBf16, kE4m3}) {
    for (const int rows : {256, 512, 576, 832}) add_prefix(rows, type, cases);
    for (const int rows : {10, 50}) add_expert(rows, true, type, cases);
    for (const int rows : {63, 64}) add_expert(rows, false, type, cases);
  }
  return cases;
}

}  // namespace saccade::bench
