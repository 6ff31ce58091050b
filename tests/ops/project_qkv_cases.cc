#include <algorithm>
#include <cmath>

#include "definitions.h"
#include "ops/op_case.h"
#include "rope_definition.h"
#include "saccade/ops/gemm.h"
#include "scaled_matrix.h"

namespace saccade::testing {
namespace {

struct Projection {
  int rows;
  int k;
  Heads heads;
  int cache_rows;
  DType type = DType::kBf16;
  DType weight = DType::kBf16;
  bool norm = true;
  bool bias = false;
  bool q = true;
  Scales x_scales = Scales::kNone;
  DType unscaled_x = type;

  bool has_scaled_x() const { return x_scales != Scales::kNone; }
  bool has_scaled_weight() const { return weight == DType::kE4m3; }
  DType x() const { return has_scaled_x() ? DType::kE4m3 : unscaled_x; }
};

constexpr float kEps = 0.25f;  // large enough to be missed

int parts_of(int k) { return (k + 63) / 64; }

// The places of the inputs.
enum : std::size_t {
  kX,
  kWeight,
  kSquares,
  kBias,
  kPositions,
  kTable,
  kK,
  kV,
  kXScales,
  kWeightScales
};

std::vector<Values> exact(const Projection& p, std::span<const Values> in) {
  const int width = p.heads.width();
  const Values scaled_x =
      p.has_scaled_x() ? exact_elements(in[kX], in[kXScales], p.rows, p.k) : in[kX];
  Values qkv;
  for (int row = 0; row < p.rows; ++row) {
    const double factor =
        p.norm ? exact_norm_factor(in[kSquares], row, parts_of(p.k), p.k, kEps) : 1;
    const double* x = scaled_x.data() + std::size_t(row) * p.k;
    for (int column = 0; column < width; ++column) {
      double sum = exact_dot(x, in[kWeight].data() + std::size_t(column) * p.k, p.k);
      if (p.has_scaled_weight()) sum *= in[kWeightScales][column];
      qkv.push_back(factor * sum + (p.bias ? in[kBias][column] : 0));
    }
  }
  return exact_rope({qkv, in[kPositions], in[kTable], in[kK], in[kV]}, p.heads, p.q);
}

void run(const Projection& p, const Stream& s, std::span<const Tensor> in,
         std::span<const Tensor> out) {
  const ops::RowNorm norm{.squares = p.norm ? in[kSquares] : Tensor{}, .eps = kEps};
  const ops::ScaledMatrix x{in[kX], p.has_scaled_x() ? in[kXScales] : Tensor{}};
  const ops::ScaledMatrix weight{in[kWeight], p.has_scaled_weight() ? in[kWeightScales] : Tensor{}};
  ops::project_qkv(s, x, weight, norm, p.bias ? in[kBias] : Tensor{}, in[kPositions], in[kTable],
                   out.back(), p.q ? out[2] : Tensor{}, out[0], out[1]);
}

std::string name_of(const Projection& p) {
  std::string name = std::string("project_qkv/") + saccade::name_of(p.x()) + "_" +
                     saccade::name_of(p.weight) + "/" +
                     extents({p.rows, p.k, p.heads.heads, p.heads.kv_heads, p.heads.head_dim});
  if (p.has_scaled_x()) name += std::string("/x_") + name_of(p.x_scales);
  if (p.has_scaled_x() && p.type != DType::kBf16) name += std::string("/") + name_of(p.type);
  if (p.norm) name += "/norm";
  if (p.bias) name += "/bias";
  if (!p.q) name += "/without_q";
  return name;
}

double tolerance(const Projection& p) {
  // Two roundings, of qkv and of what is rotated; those of a sequential f32 sum grow as sqrt(k).
  const double least =
      std::max(std::sqrt(2.0) * tolerance_of(p.type), 1e-7 * std::sqrt(double(p.k)));
  // The sums of Hopper's tensor cores keep about 14 bits where both operands are in e4m3.
  const bool is_short = p.has_scaled_x() && p.has_scaled_weight() && p.k % 16 == 0;
  return is_short ? std::max(least, 1e-3) : least;
}

OpCase make(const Projection& p) {
  const auto [heads, kv_heads, head_dim] = p.heads;
  const int width = p.heads.width();
  const int parts = parts_of(p.k);
  const float deviation = 1 / std::sqrt(float(p.k));
  const Shape cache{p.cache_rows, kv_heads, head_dim};
  OpCase op{
      .name = name_of(p),
      .inputs = {p.has_scaled_x() ? scaled_values(p.rows, p.k) : Operand{{p.rows, p.k}, p.x()},
                 p.has_scaled_weight() ? scaled_values(width, p.k)
                                       : Operand{{width, p.k}, p.weight, fill_normal_of(deviation)},
                 {{p.rows, parts}, DType::kF32, fill_uniform(0, 2 * float(p.k) / float(parts))},
                 {{width}, DType::kF32},
                 {{p.rows}, DType::kI32, fill_distinct(0, p.cache_rows - 1)},
                 {{p.cache_rows, head_dim}, DType::kF32, fill_rope_table},
                 {cache, p.type},
                 {cache, p.type},
                 scales_of(std::max(1, blocks_of(p.x_scales, p.k)), p.rows, 1),
                 scales_of(1, width, deviation)},
      .outputs = {{.shape = cache, .dtype = p.type, .starts_as = kK},
                  {.shape = cache, .dtype = p.type, .starts_as = kV}},
      .scratch = {{{p.rows, width}, p.type}},
      .run = [=](const Stream& s, std::span<const Tensor> in,
                 std::span<const Tensor> out) { run(p, s, in, out); },
      .exact = [=](std::span<const Values> in) { return exact(p, in); },
      .tolerance = tolerance(p),
      .flops = 2.0 * p.rows * p.k * width,
      .bytes = double(width) * p.k * double(size_of(p.weight)) +
               double(p.rows) * (p.k * double(size_of(p.x())) + width * double(size_of(p.type))),
  };
  if (p.q) op.outputs.push_back({{p.rows, heads, head_dim}, p.type});
  return op;
}

constexpr auto kF32 = DType::kF32;
constexpr auto kBf16 = DType::kBf16;
constexpr auto kF16 = DType::kF16;
constexpr Heads kGemma{8, 1, 256};

/// With weights in e4m3: an expert's suffix, whose x is in f16, and a prefix, whose x has scales.
void add_scaled(std::vector<Projection>& all) {
  const auto add = [&](Projection p) {
    p.weight = DType::kE4m3;
    all.push_back(p);
  };
  const auto add_suffix = [&](Projection p) {
    p.unscaled_x = kF16;
    add(p);
  };
  for (int rows : {1, 10, 16, 17, 50, 51, 63, 64}) {
    add_suffix({.rows = rows, .k = 1024, .heads = kGemma, .cache_rows = 583, .bias = true});
  }
  add_suffix({.rows = 50, .k = 1024, .heads = kGemma, .cache_rows = 583});
  add_suffix({.rows = 17, .k = 520, .heads = kGemma, .cache_rows = 40, .norm = false});
  add_suffix({.rows = 16, .k = 512, .heads = kGemma, .cache_rows = 40, .q = false});
  add({.rows = 50, .k = 1024, .heads = kGemma, .cache_rows = 583});
  add({.rows = 130, .k = 520, .heads = {2, 2, 256}, .cache_rows = 400, .bias = true});
  add({.rows = 33, .k = 64, .heads = {4, 2, 64}, .cache_rows = 50, .type = kF16, .bias = true});
  const auto add_prefix = [&](Projection p, Scales scales) {
    p.norm = false;
    p.x_scales = scales;
    add(p);
  };
  for (int rows : {64, 128, 192, 576, 832}) {
    add_prefix({.rows = rows, .k = 2048, .heads = {1, 1, 256}, .cache_rows = rows}, Scales::kRows);
  }
  const std::vector<Projection> prefixes{
      {.rows = 129, .k = 1024, .heads = kGemma, .cache_rows = 200},
      {.rows = 192, .k = 512, .heads = {2, 1, 256}, .cache_rows = 200, .q = false},
      {.rows = 193, .k = 528, .heads = {2, 2, 256}, .cache_rows = 400, .bias = true},
      {.rows = 65, .k = 1096, .heads = {2, 1, 256}, .cache_rows = 70},
      {.rows = 50, .k = 1024, .heads = {2, 1, 256}, .cache_rows = 70, .bias = true},
      {.rows = 130, .k = 256, .heads = {4, 1, 128}, .cache_rows = 200},
      {.rows = 5, .k = 140, .heads = {3, 1, 6}, .cache_rows = 9},
  };
  for (Scales scales : {Scales::kRows, Scales::kBlocks}) {
    for (const Projection& p : prefixes) add_prefix(p, scales);
  }
  for (DType type : {kF32, kF16}) {
    add_prefix({.rows = 5, .k = 140, .heads = {2, 1, 6}, .cache_rows = 9, .type = type},
               Scales::kBlocks);
    add({.rows = 5, .k = 12, .heads = {2, 1, 6}, .cache_rows = 9, .type = type});
  }
}

}  // namespace

std::vector<OpCase> project_qkv_cases() {
  std::vector<Projection> all{
      // The prefix, with fewer heads where there are many rows.
      {.rows = 100, .k = 2048, .heads = kGemma, .cache_rows = 130},
      {.rows = 65, .k = 1096, .heads = kGemma, .cache_rows = 70, .norm = false, .bias = true},
      {.rows = 192, .k = 2048, .heads = {2, 1, 256}, .cache_rows = 192},
      {.rows = 193, .k = 520, .heads = {2, 2, 256}, .cache_rows = 400, .bias = true},
      {.rows = 532, .k = 1024, .heads = {1, 1, 256}, .cache_rows = 600},
      {.rows = 532, .k = 1024, .heads = {1, 1, 256}, .cache_rows = 600, .q = false},
      {.rows = 130, .k = 256, .heads = {4, 1, 128}, .cache_rows = 200, .bias = true},
      {.rows = 130,
       .k = 256,
       .heads = {4, 1, 128},
       .cache_rows = 200,
       .type = kF16,
       .weight = kF16},
      {.rows = 70,
       .k = 64,
       .heads = {16, 16, 72},
       .cache_rows = 71,
       .type = kF16,
       .weight = kF16,
       .norm = false,
       .bias = true},
  };
  for (int rows : {1, 50, 51, 64}) {  // an expert's suffix, behind a prefix
    all.push_back({.rows = rows, .k = 1024, .heads = kGemma, .cache_rows = 583});
  }
  all.push_back({.rows = 50, .k = 1024, .heads = kGemma, .cache_rows = 70, .bias = true});
  all.push_back({.rows = 17, .k = 512, .heads = kGemma, .cache_rows = 40, .norm = false});
  all.push_back({.rows = 16, .k = 512, .heads = kGemma, .cache_rows = 40, .q = false});
  for (DType type : {kF32, kBf16, kF16}) {
    for (DType weight : {kF32, kBf16, kF16}) {
      all.push_back({.rows = 5,
                     .k = 12,
                     .heads = {2, 1, 6},
                     .cache_rows = 9,
                     .type = type,
                     .weight = weight,
                     .bias = true});
      all.push_back({.rows = 3,
                     .k = 17,
                     .heads = {3, 2, 10},
                     .cache_rows = 3,
                     .type = type,
                     .weight = weight,
                     .norm = false,
                     .q = false});
    }
  }
  add_scaled(all);
  std::vector<OpCase> cases;
  for (const Projection& p : all) cases.push_back(make(p));
  return cases;
}

}  // namespace saccade::testing
