#include <algorithm>
#include <cmath>

#include "definitions.h"
#include "ops/gemm/gemm.h"
#include "ops/op_case.h"
#include "scaled_matrix.h"

namespace saccade::testing {
namespace {

using ops::Activation;

enum class Through { kOp, kReference };

/// What the epilogue is given.
struct With {
  bool norm = false;
  bool bias = false;
  bool gate = false;
  bool residual = false;
  bool in_place = false;  // the residual is out
  bool next = false;      // and a product of its norm, the only thing that shows squares
  DType scaled = DType::kBf16;
  Scales quantized = Scales::kNone;  // out is scratch then
};

struct Gemm {
  int m;
  int k;
  int n;
  DType x = DType::kF32;
  DType weight = DType::kF32;
  DType out = DType::kF32;
  Activation activation = Activation::kNone;
  With with = {};
  Through through = Through::kOp;
  Scales x_scales = Scales::kRows;  // of x in e4m3

  int weight_rows() const { return activation == Activation::kGeglu ? 2 * n : n; }
  bool has_scaled_x() const { return x == DType::kE4m3; }
  bool has_scaled_weight() const { return weight == DType::kE4m3; }
};

constexpr float kEps = 0.25f;  // large enough to be missed
constexpr int kNextColumns = 40;

/// One part more than a norm's producer needs.
int parts_of(int columns) { return (columns + 63) / 64 + 1; }

// The places of the inputs, and of the outputs with their scratch.
enum : std::size_t {
  kX,
  kWeight,
  kBias,
  kGate,
  kResidual,
  kSquares,
  kScale,
  kXScales,
  kWeightScales,
  kNextWeight
};
enum : std::size_t { kOut, kScaled, kNextOut, kNextSquares };
enum : std::size_t { kQuantizedValues, kQuantizedScales, kQuantizedFrom };

double activated(const Gemm& g, const Values& sums, int column) {
  switch (g.activation) {
    case Activation::kGelu:
      return exact_gelu(sums[column]);
    case Activation::kSilu:
      return exact_silu(sums[column]);
    case Activation::kGeglu:
      return exact_gelu(sums[column]) * sums[g.n + column];
    case Activation::kNone:
      break;
  }
  return sums[column];
}

Values exact_out(const Gemm& g, std::span<const Values> in) {
  const Values scaled_x =
      g.has_scaled_x() ? exact_elements(in[kX], in[kXScales], g.m, g.k) : Values{};
  const double* first = g.has_scaled_x() ? scaled_x.data() : in[kX].data();
  Values out(std::size_t(g.m) * g.n);
  Values sums(g.weight_rows());
  for (int row = 0; row < g.m; ++row) {
    const double factor =
        g.with.norm ? exact_norm_factor(in[kSquares], row, parts_of(g.k), g.k, kEps) : 1;
    const double* x = first + std::size_t(row) * g.k;
    for (int column = 0; column < g.weight_rows(); ++column) {
      sums[column] = factor * exact_dot(x, in[kWeight].data() + std::size_t(column) * g.k, g.k);
      if (g.has_scaled_weight()) sums[column] *= in[kWeightScales][column];
      if (g.with.bias) sums[column] += in[kBias][column];
    }
    for (int column = 0; column < g.n; ++column) {
      const std::size_t index = std::size_t(row) * g.n + column;
      out[index] = activated(g, sums, column);
      if (g.with.gate) out[index] *= in[kGate][column];
      if (g.with.residual || g.with.in_place) out[index] += in[kResidual][index];
    }
  }
  return out;
}

std::vector<Values> exact(const Gemm& g, std::span<const Values> in) {
  Values out = exact_out(g, in);
  if (g.with.quantized != Scales::kNone) {
    return exact_quantized(std::move(out), g.m, g.n, blocks_of(g.with.quantized, g.n));
  }
  if (!g.with.next) return {out};
  Values scaled(out.size());
  Values next(std::size_t(g.m) * kNextColumns);
  for (int row = 0; row < g.m; ++row) {
    const std::size_t first = std::size_t(row) * g.n;
    for (int i = 0; i < g.n; ++i) scaled[first + i] = out[first + i] * in[kScale][i];
    const double squares = exact_dot(&out[first], &out[first], g.n);
    for (int column = 0; column < kNextColumns; ++column) {
      const double* weight = in[kNextWeight].data() + std::size_t(column) * g.n;
      next[std::size_t(row) * kNextColumns + column] =
          exact_dot(&scaled[first], weight, g.n) / std::sqrt(squares / g.n + kEps);
    }
  }
  return {out, scaled, next};
}

void run(const Gemm& g, const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
  const bool quantizes = g.with.quantized != Scales::kNone;
  const ops::ScaledMatrix x{in[kX], g.has_scaled_x() ? in[kXScales] : Tensor{}};
  const ops::ScaledMatrix weight{in[kWeight], g.has_scaled_weight() ? in[kWeightScales] : Tensor{}};
  const Tensor result = quantizes ? out[kQuantizedFrom] : out[kOut];
  ops::GemmEpilogue epilogue{.activation = g.activation};
  if (g.with.norm) epilogue.norm = {.squares = in[kSquares], .eps = kEps};
  if (g.with.bias) epilogue.bias = in[kBias];
  if (g.with.gate) epilogue.gate = in[kGate];
  if (g.with.residual) epilogue.residual = in[kResidual];
  if (g.with.in_place) epilogue.residual = out[kOut];
  if (quantizes) epilogue.quantized = {out[kQuantizedValues], out[kQuantizedScales]};
  if (g.with.next) {
    epilogue.next = {.scale = in[kScale], .scaled = out[kScaled], .squares = out[kNextSquares]};
  }
  if (g.through == Through::kReference) {
    ops::detail::gemm_cpu(ops::detail::gemm_params(s, x, weight, epilogue, result));
  } else {
    ops::gemm(s, x, weight, epilogue, result);
  }
  if (!g.with.next) return;
  const ops::GemmEpilogue next{.norm = {.squares = out[kNextSquares], .eps = kEps}};
  ops::gemm(s, out[kScaled], in[kNextWeight], next, out[kNextOut]);
}

std::string name_of(const Gemm& g) {
  constexpr const char* kActivations[] = {"", "/gelu", "/silu", "/geglu"};
  std::string name = std::string(g.through == Through::kOp ? "gemm/" : "gemm_cpu/") +
                     saccade::name_of(g.x) + "_" + saccade::name_of(g.weight) + "_" +
                     saccade::name_of(g.out) + "/" + extents({g.m, g.k, g.n}) +
                     kActivations[int(g.activation)];
  if (g.has_scaled_x()) name += std::string("/x_") + name_of(g.x_scales);
  if (g.with.norm) name += "/norm";
  if (g.with.bias) name += "/bias";
  if (g.with.gate) name += "/gate";
  if (g.with.residual) name += "/residual";
  if (g.with.in_place) name += "/in_place";
  if (g.with.next) name += std::string("/next_") + saccade::name_of(g.with.scaled);
  if (g.with.quantized != Scales::kNone) {
    name += std::string("/quantized_") + name_of(g.with.quantized);
  }
  return name;
}

std::vector<Operand> inputs_of(const Gemm& g) {
  // Weights of 1 / sqrt(k), as in a network, so that activations are used where they bend.
  const float deviation = 1 / std::sqrt(float(g.k));
  const int parts = parts_of(g.k);
  std::vector<Operand> inputs{
      g.has_scaled_x() ? scaled_values(g.m, g.k) : Operand{{g.m, g.k}, g.x},
      g.has_scaled_weight() ? scaled_values(g.weight_rows(), g.k)
                            : Operand{{g.weight_rows(), g.k}, g.weight, fill_normal_of(deviation)},
      {{g.weight_rows()}, DType::kF32},
      {{g.n}, DType::kF32},
      {{g.m, g.n}, g.out},
      {{g.m, parts}, DType::kF32, fill_uniform(0, 2 * float(g.k) / float(parts))},
      {{g.n}, DType::kF32},
      scales_of(blocks_of(g.x_scales, g.k), g.m, 1),
      scales_of(1, g.weight_rows(), deviation)};
  if (g.with.next) {
    inputs.push_back(
        {{kNextColumns, g.n}, g.with.scaled, fill_normal_of(1 / std::sqrt(float(g.n)))});
  }
  return inputs;
}

double tolerance(const Gemm& g) {
  // Rounding errors of a sequential f32 sum grow as sqrt(k).
  const double least = std::max(tolerance_of(g.out), 1e-7 * std::sqrt(double(g.k)));
  // The sums of Hopper's tensor cores keep about 14 bits where both operands are in e4m3.
  const bool is_short = g.has_scaled_x() && g.has_scaled_weight() && g.k % 16 == 0;
  return is_short ? std::max(least, 1e-3) : least;
}

OpCase make(const Gemm& g) {
  const double out_size = double(g.m) * g.n;
  OpCase op{
      .name = name_of(g),
      .inputs = inputs_of(g),
      .outputs = {{{g.m, g.n}, g.out}},
      .run = [=](const Stream& s, std::span<const Tensor> in,
                 std::span<const Tensor> out) { run(g, s, in, out); },
      .exact = [=](std::span<const Values> in) { return exact(g, in); },
      .tolerance = tolerance(g),
      .flops = 2.0 * g.m * g.k * g.weight_rows(),
      .bytes = double(g.m) * g.k * double(size_of(g.x)) +
               double(g.weight_rows()) * g.k * double(size_of(g.weight)) +
               out_size * double(size_of(g.out)),
      .host_only = g.through == Through::kReference,
  };
  if (g.with.in_place) op.outputs[kOut].starts_as = kResidual;
  if (g.with.next) {
    op.outputs.push_back({{g.m, g.n}, g.with.scaled});
    op.outputs.push_back({{g.m, kNextColumns}, DType::kF32});
    op.scratch.push_back({{g.m, parts_of(g.n)}, DType::kF32});
    op.tolerance = std::max(op.tolerance, tolerance_of(g.with.scaled));
  }
  if (g.with.quantized != Scales::kNone) {
    op.tolerance *= std::sqrt(2);  // a value and its scale may each be rounded to out's type first
    op.scratch = op.outputs;
    op.outputs = {{{g.m, g.n}, DType::kE4m3},
                  {{blocks_of(g.with.quantized, g.n), g.m}, DType::kF32}};
  }
  return op;
}

constexpr auto kF32 = DType::kF32;
constexpr auto kBf16 = DType::kBf16;
constexpr auto kF16 = DType::kF16;
constexpr auto kE4m3 = DType::kE4m3;
constexpr auto kNone = Activation::kNone;
constexpr auto kGelu = Activation::kGelu;
constexpr auto kSilu = Activation::kSilu;
constexpr auto kGeglu = Activation::kGeglu;
constexpr With kNothing;
constexpr With kAll{.norm = true, .bias = true, .gate = true, .residual = true};
constexpr With kWithBias{.bias = true};
constexpr With kWithNorm{.norm = true};
constexpr With kInPlace{.in_place = true};
constexpr With kResidualStream{.in_place = true, .next = true};
constexpr With kGatedStream{.gate = true, .in_place = true, .next = true};
constexpr With kResidualStreamF16{.in_place = true, .next = true, .scaled = kF16};
constexpr With kGatedStreamF16{.gate = true, .in_place = true, .next = true, .scaled = kF16};
constexpr With kNormAndBias{.norm = true, .bias = true};
constexpr With kQuantized{.quantized = Scales::kBlocks};

/// Every mix of types and every epilogue, at an awkward size.
std::vector<OpCase> combinations(Through through) {
  std::vector<OpCase> cases;
  constexpr DType kTypes[] = {kF32, kBf16, kF16};
  for (DType x : kTypes) {
    for (DType weight : kTypes) {
      for (DType out : kTypes) {
        cases.push_back(make({5, 33, 17, x, weight, out, kGeglu, kAll, through}));
      }
    }
  }
  for (Activation activation : {kNone, kGelu, kSilu, kGeglu}) {
    for (With with : {kNothing, kAll, kInPlace}) {
      cases.push_back(make({3, 65, 31, kF32, kBf16, kF32, activation, with, through}));
      cases.push_back(make({3, 65, 31, kF32, kF32, kF32, activation, with, through}));
    }
  }
  for (DType scaled : kTypes) {
    With all = kAll;
    all.next = true;
    all.scaled = scaled;
    cases.push_back(make({3, 65, 129, kF32, kBf16, kF32, kGeglu, all, through}));
    cases.push_back(make({5, 68, 67, kF16, kF16, kBf16, kGelu, all, through}));
    cases.push_back(make({5, 68, 68, kBf16, kBf16, kF16, kGeglu, all, through}));
  }
  cases.push_back(make({1, 1, 1, kF32, kF32, kF32, kNone, kAll, through}));
  cases.push_back(make({4, 8, 9, kBf16, kBf16, kBf16, kNone, kInPlace, through}));
  return cases;
}

/// One less, and one more, than a block of rows, columns or depth.
std::vector<OpCase> block_edges() {
  return {
      make({1, 1, 1}),
      make({1, 1, 1, kBf16, kBf16, kBf16, kGeglu, kAll}),
      make({639, 5, 3, kBf16, kBf16, kF32}),
      make({641, 5, 3, kBf16, kBf16, kF32, kGeglu, kAll}),
      make({3, 7, 511, kF32, kBf16, kF32, kGeglu, kAll}),
      make({3, 7, 513, kF32, kBf16, kF32, kGeglu, kAll}),
      make({3, 511, 5, kBf16, kBf16, kF32}),
      make({3, 513, 5, kBf16, kBf16, kF32, kNone, kInPlace}),
      make({641, 513, 513, kF32, kBf16, kBf16, kGelu, kAll}),
      make({17, 16384, 33, kF32, kBf16, kF32}),  // the longest sum
      make({17, 16384, 33, kF32, kF32, kF32}),
      make({65, 33, 65, kF32, kF32, kF32, kGeglu, kAll}),
      make({65, 100, 127, kF32, kF16, kF32, kNone, kResidualStream}),
      make({130, 260, 264, kF32, kF32, kF32, kNone, kGatedStream}),
      make({100, 2048, 264, kF32, kF32, kF32, kGeglu, kWithNorm}),
  };
}

/// Rows that are no multiple of 16 bytes, and enough columns for the largest tiles.
std::vector<OpCase> portable() {
  return {
      make({65, 4, 66, kBf16, kBf16, kF32}),
      make({63, 60, 65, kF16, kF16, kF32, kGeglu, kAll}),
      make({65, 1100, 200, kBf16, kBf16, kBf16, kGeglu, kAll}),
      make({129, 100, 130, kF16, kF16, kF16, kGelu, kWithBias}),
      make({50, 1028, 264, kBf16, kBf16, kF32, kNone, kGatedStream}),
      make({641, 68, 2600, kBf16, kBf16, kF32, kNone, kGatedStream}),
      make({577, 36, 1300, kBf16, kBf16, kBf16, kGeglu, kAll}),
      make({577, 72, 2500, kF16, kF16, kF16, kSilu, kAll}),
      make({577, 40, 1281, kF16, kF16, kF32, kGeglu, kResidualStream}),
      make({256, 588, 1152, kF16, kF16, kF32, kNone, {.bias = true, .residual = true}}),
  };
}

/// The layers of SigLIP and of the prefix, with fewer columns.
std::vector<OpCase> wide() {
  return {
      make({256, 1152, 264, kF16, kF16, kF16, kGelu, kWithBias}),
      make({512, 4304, 128, kF16, kF16, kF32, kNone, {.bias = true, .in_place = true}}),
      make({512, 1152, 200, kF16, kF16, kF32, kNone, {.bias = true, .in_place = true}}),
      make({65, 1152, 2056, kBf16, kBf16, kBf16, kNone, kWithNorm}),
      make({193, 1096, 256, kBf16, kBf16, kF32, kSilu, kAll}),
      make({512, 2048, 256, kBf16, kBf16, kF32, kNone, kResidualStream}),
      make({576, 2048, 256, kBf16, kBf16, kF32, kNone, kInPlace}),
      make({576, 1024, 520, kBf16, kBf16, kF32, kNone, kGatedStream}),
      make({65, 16384, 128, kBf16, kBf16, kF32, kNone, kResidualStream}),
      make({192, 2048, 264, kBf16, kBf16, kBf16, kGeglu, kWithNorm}),
      make({320, 2048, 256, kBf16, kBf16, kBf16, kGeglu, kWithNorm}),
      make({193, 520, 264, kBf16, kBf16, kBf16, kGeglu, kAll}),
      make({532, 2048, 64, kBf16, kBf16, kBf16, kGeglu}),
      make({50, 1024, 520, kF32, kBf16, kF32, kGeglu}),
      make({256, 1152, 100, kBf16, kBf16, kBf16, kGelu, kAll}),
      make({1, 1024, 1024, kF32, kF32, kF32, kSilu, kAll}),
  };
}

/// The layers of an action expert.
std::vector<OpCase> skinny() {
  std::vector<OpCase> cases{
      make({50, 1024, 1024, kBf16, kBf16, kBf16, kSilu, kWithBias}),
      make({56, 1024, 1024, kBf16, kBf16, kF32, kSilu, kAll}),
      make({1, 2048, 1024, kBf16, kBf16, kF32, kNone, kGatedStream}),
      make({50, 2048, 1024, kBf16, kBf16, kF32, kNone, kGatedStream}),
      make({51, 2048, 1024, kBf16, kBf16, kF32, kNone, kResidualStream}),
      make({10, 4096, 1024, kBf16, kBf16, kF32, kNone, kGatedStream}),
      make({63, 4096, 1024, kBf16, kBf16, kF32, kNone, kResidualStream}),
      make({50, 2048, 1000, kBf16, kBf16, kF32, kNone, kGatedStream}),
  };
  for (int rows : {1, 10, 16, 17, 50, 51, 56, 63, 64}) {
    cases.push_back(make({rows, 512, 256, kBf16, kBf16, kF32, kNone, kGatedStream}));
    cases.push_back(make({rows, 512, 256, kBf16, kBf16, kBf16, kGelu, kAll}));
  }
  for (int rows : {1, 16, 17, 50, 64}) {
    cases.push_back(make({rows, 1024, 512, kBf16, kBf16, kBf16, kGeglu, kNormAndBias}));
  }
  return cases;
}

/// Few columns or a short k: what turns noisy actions into rows of the expert and back.
std::vector<OpCase> thin() {
  constexpr With kUpdate{.norm = true, .bias = true, .gate = true, .in_place = true};
  constexpr With kFirst{.bias = true, .next = true};
  return {
      make({50, 32, 1024, kF32, kF32, kF32, kNone, kFirst}),
      make({50, 32, 1024, kF32, kBf16, kF32, kNone, kFirst}),
      make({51, 1024, 32, kBf16, kF32, kF32, kNone, kUpdate}),
      make({63, 1024, 32, kBf16, kBf16, kF32, kNone, kUpdate}),
      make({1, 32, 1024, kF32, kBf16, kBf16, kNone, kWithBias}),
      make({1, 1024, 32, kF16, kF16, kF32, kNone, kAll}),
      make({2, 2048, 31, kF32, kF32, kF32, kGelu, kGatedStream}),
      make({3, 1028, 7, kF16, kBf16, kF16, kSilu, kAll}),
      make({5, 63, 129, kBf16, kF32, kF32, kSilu, kGatedStream}),
      make({9, 64, 193, kF16, kF16, kF16, kGelu, kAll}),
      make({7, 1, 65, kF32, kF32, kF32, kNone, kResidualStream}),
  };
}

/// Every mix of types with e4m3, at awkward sizes.
std::vector<OpCase> scaled_combinations(Through through) {
  std::vector<OpCase> cases;
  constexpr DType kTypes[] = {kF32, kBf16, kF16};
  With quantized_rows = kAll, quantized_blocks = kAll;
  quantized_rows.quantized = Scales::kRows;
  quantized_blocks.quantized = Scales::kBlocks;
  for (DType type : kTypes) {
    for (DType out : kTypes) {
      cases.push_back(make({5, 33, 17, type, kE4m3, out, kGeglu, kAll, through}));
    }
    for (Scales scales : {Scales::kRows, Scales::kBlocks}) {
      cases.push_back(make({5, 300, 17, kE4m3, type, kF32, kSilu, kAll, through, scales}));
      cases.push_back(make({3, 260, 19, kE4m3, kE4m3, type, kGeglu, kAll, through, scales}));
      cases.push_back(make({7, 272, 24, kE4m3, kE4m3, type, kNone, kNothing, through, scales}));
    }
    cases.push_back(make({5, 40, 129, kBf16, kE4m3, type, kGeglu, quantized_rows, through}));
    cases.push_back(make({3, 36, 300, kBf16, kBf16, type, kGeglu, quantized_blocks, through}));
    cases.push_back(make({9, 130, 257, kE4m3, kE4m3, type, kGelu, quantized_blocks, through}));
  }
  for (Scales scales : {Scales::kRows, Scales::kBlocks}) {
    cases.push_back(make({1, 1, 1, kE4m3, kE4m3, kF32, kNone, kAll, through, scales}));
    cases.push_back(make({3, 145, 67, kE4m3, kE4m3, kF32, kNone, kGatedStream, through, scales}));
  }
  return cases;
}

/// The layers of an action expert whose weights are in e4m3.
std::vector<OpCase> scaled_skinny() {
  std::vector<OpCase> cases{
      make({50, 1024, 4096, kF16, kE4m3, kF16, kGeglu, kNormAndBias}),
      make({51, 1024, 520, kF16, kE4m3, kF16, kGeglu, kWithNorm}),
      make({63, 1024, 1000, kF16, kE4m3, kF32, kSilu, kAll}),
      make({50, 1032, 264, kF16, kE4m3, kF16, kGeglu, kAll}),  // rows of 8-byte multiples
      make({17, 1028, 200, kF16, kE4m3, kF32, kNone, kGatedStreamF16}),
      make({16, 528, 130, kF16, kE4m3, kF32, kNone, kGatedStreamF16}),
      make({64, 80, 65, kF16, kE4m3, kF32, kNone, kInPlace}),
      make({50, 1024, 264, kF32, kE4m3, kF32, kGeglu, kNormAndBias}),
      make({50, 1024, 264, kF16, kE4m3, kF16, kNone, kNothing}),
      make({50, 1024, 264, kBf16, kE4m3, kBf16, kGeglu, kNormAndBias}),  // no skinny product
      make({50, 2048, 1024, kF16, kE4m3, kF32, kNone, kGatedStream}),    // the scaled copy in bf16
      make({10, 2048, 1024, kF32, kE4m3, kF32, kNone, kGatedStreamF16}),
      make({50, 1024, 256, kF16, kE4m3, kF16, kGeglu, kQuantized}),
      make({50, 512, 256, kBf16, kBf16, kBf16, kGeglu, kQuantized}),
      make({50, 32, 256, kF32, kF32, kF32, kNone, kQuantized}),
      make({65, 1024, 264, kF16, kE4m3, kF16, kGeglu, kNormAndBias}),  // more rows than skinny
      make({65, 1024, 264, kBf16, kE4m3, kBf16, kGeglu, kNormAndBias}),
      make({130, 512, 256, kBf16, kE4m3, kF32, kNone, kResidualStream}),
      make({130, 512, 256, kF16, kE4m3, kF32, kNone, kResidualStreamF16}),
      make({50, 1024, 32, kF16, kE4m3, kF32, kNone, kWithBias}),  // few columns, a short k
      make({50, 32, 1024, kF16, kE4m3, kF32, kNone, kWithBias}),
  };
  for (int rows : {1, 10, 50, 51, 63, 64}) {
    cases.push_back(make({rows, 2048, 1024, kF16, kE4m3, kF32, kNone, kGatedStreamF16}));
    cases.push_back(make({rows, 4096, 1024, kF16, kE4m3, kF32, kNone, kResidualStreamF16}));
    cases.push_back(make({rows, 1024, 512, kF16, kE4m3, kF16, kGeglu, kNormAndBias}));
    cases.push_back(make({rows, 512, 256, kF16, kE4m3, kF16, kGelu, kAll}));
  }
  return cases;
}

/// The layers of a prefix in e4m3, with fewer columns.
std::vector<OpCase> scaled_wide() {
  constexpr Scales kBlocks = Scales::kBlocks;
  With all_quantized = kAll;
  all_quantized.quantized = kBlocks;
  std::vector<OpCase> cases{
      make({64, 16384, 128, kE4m3, kE4m3, kF32, kNone, kResidualStream, Through::kOp, kBlocks}),
      make({192, 16384, 136, kE4m3, kE4m3, kF32, kNone, kInPlace, Through::kOp, kBlocks}),
      make({192, 16384, 128, kE4m3, kE4m3, kF32, kNone, kInPlace}),
      make({576, 4096, 128, kE4m3, kE4m3, kF32, kNone, kResidualStream, Through::kOp, kBlocks}),
      make({832, 4096, 128, kE4m3, kE4m3, kF32, kNone, kGatedStream, Through::kOp, kBlocks}),
      make({576, 512, 1152, kE4m3, kE4m3, kBf16, kGeglu, kQuantized}),
      make({192, 256, 2048, kE4m3, kE4m3, kBf16, kGeglu, kQuantized, Through::kOp, kBlocks}),
      make({192, 512, 264, kE4m3, kE4m3, kBf16, kGeglu, kQuantized}),
      make({192, 512, 256, kE4m3, kE4m3, kBf16, kGeglu, {.quantized = Scales::kRows}}),
      make({192, 512, 256, kE4m3, kE4m3, kF32, kNone, all_quantized, Through::kOp, kBlocks}),
      make({130, 512, 256, kE4m3, kE4m3, kBf16, kGelu, all_quantized}),
      make({192, 512, 256, kBf16, kBf16, kBf16, kGeglu, kQuantized}),
      make({192, 512, 256, kF16, kF16, kF16, kNone, kQuantized}),
      make({193, 528, 256, kE4m3, kE4m3, kBf16, kGeglu, kQuantized, Through::kOp, kBlocks}),
      make({65, 1040, 200, kE4m3, kE4m3, kF32, kSilu, kAll, Through::kOp, kBlocks}),
      make({577, 272, 520, kE4m3, kE4m3, kF32, kNone, kGatedStream}),
      make({66, 1048, 264, kE4m3, kE4m3, kF32, kNone, kInPlace}),  // rows of 8-byte multiples
      make({130, 260, 130, kE4m3, kE4m3, kBf16, kGeglu, kAll, Through::kOp, kBlocks}),
      make({128, 128, 256, kE4m3, kE4m3, kF16, kNone, kWithBias}),
      make({50, 2048, 256, kE4m3, kE4m3, kF32, kNone, kInPlace, Through::kOp, kBlocks}),
      make({10, 1024, 256, kE4m3, kE4m3, kBf16, kGeglu, kQuantized}),
      make({192, 512, 256, kBf16, kE4m3, kBf16, kGeglu, kQuantized}),
      make({192, 512, 256, kE4m3, kBf16, kF32, kNone, kInPlace}),
  };
  for (int rows : {64, 128, 192, 576, 832}) {
    cases.push_back(
        make({rows, 2048, 256, kE4m3, kE4m3, kF32, kNone, kInPlace, Through::kOp, kBlocks}));
    cases.push_back(make({rows, 2048, 256, kE4m3, kE4m3, kBf16, kGeglu, kQuantized}));
    cases.push_back(make({rows, 1024, 384, kE4m3, kE4m3, kBf16, kNone, kNothing}));
  }
  return cases;
}

}  // namespace

std::vector<OpCase> gemm_cases() {
  std::vector<OpCase> all;
  for (const auto& cases :
       {combinations(Through::kOp), combinations(Through::kReference), block_edges(), portable(),
        wide(), skinny(), thin(), scaled_combinations(Through::kOp),
        scaled_combinations(Through::kReference), scaled_skinny(), scaled_wide()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

}  // namespace saccade::testing
