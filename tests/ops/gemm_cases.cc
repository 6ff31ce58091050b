#include <algorithm>
#include <cmath>

#include "definitions.h"
#include "ops/gemm/gemm.h"
#include "ops/op_case.h"

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

  int weight_rows() const { return activation == Activation::kGeglu ? 2 * n : n; }
};

constexpr float kEps = 0.25f;  // large enough to be missed
constexpr int kNextColumns = 40;

/// One part more than a norm's producer needs.
int parts_of(int columns) { return (columns + 63) / 64 + 1; }

// The places of the inputs, and of the outputs with their scratch.
enum : std::size_t { kX, kWeight, kBias, kGate, kResidual, kSquares, kScale, kNextWeight };
enum : std::size_t { kOut, kScaled, kNextOut, kNextSquares };

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
  Values out(std::size_t(g.m) * g.n);
  Values sums(g.weight_rows());
  for (int row = 0; row < g.m; ++row) {
    const double factor =
        g.with.norm ? exact_norm_factor(in[kSquares], row, parts_of(g.k), g.k, kEps) : 1;
    const double* x = in[kX].data() + std::size_t(row) * g.k;
    for (int column = 0; column < g.weight_rows(); ++column) {
      sums[column] = factor * exact_dot(x, in[kWeight].data() + std::size_t(column) * g.k, g.k);
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
  ops::GemmEpilogue epilogue{.activation = g.activation};
  if (g.with.norm) epilogue.norm = {.squares = in[kSquares], .eps = kEps};
  if (g.with.bias) epilogue.bias = in[kBias];
  if (g.with.gate) epilogue.gate = in[kGate];
  if (g.with.residual) epilogue.residual = in[kResidual];
  if (g.with.in_place) epilogue.residual = out[kOut];
  if (g.with.next) {
    epilogue.next = {.scale = in[kScale], .scaled = out[kScaled], .squares = out[kNextSquares]};
  }
  if (g.through == Through::kReference) {
    ops::detail::gemm_cpu(ops::detail::gemm_params(s, in[kX], in[kWeight], epilogue, out[kOut]));
  } else {
    ops::gemm(s, in[kX], in[kWeight], epilogue, out[kOut]);
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
  if (g.with.norm) name += "/norm";
  if (g.with.bias) name += "/bias";
  if (g.with.gate) name += "/gate";
  if (g.with.residual) name += "/residual";
  if (g.with.in_place) name += "/in_place";
  if (g.with.next) name += std::string("/next_") + saccade::name_of(g.with.scaled);
  return name;
}

std::vector<Operand> inputs_of(const Gemm& g) {
  // Weights of 1 / sqrt(k), as in a network, so that activations are used where they bend.
  const int parts = parts_of(g.k);
  std::vector<Operand> inputs{
      {{g.m, g.k}, g.x},
      {{g.weight_rows(), g.k}, g.weight, fill_normal_of(1 / std::sqrt(float(g.k)))},
      {{g.weight_rows()}, DType::kF32},
      {{g.n}, DType::kF32},
      {{g.m, g.n}, g.out},
      {{g.m, parts}, DType::kF32, fill_uniform(0, 2 * float(g.k) / float(parts))},
      {{g.n}, DType::kF32}};
  if (g.with.next) {
    inputs.push_back(
        {{kNextColumns, g.n}, g.with.scaled, fill_normal_of(1 / std::sqrt(float(g.n)))});
  }
  return inputs;
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
      // Rounding errors of a sequential f32 sum grow as sqrt(k).
      .tolerance = std::max(tolerance_of(g.out), 1e-7 * std::sqrt(double(g.k))),
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
  return op;
}

constexpr auto kF32 = DType::kF32;
constexpr auto kBf16 = DType::kBf16;
constexpr auto kF16 = DType::kF16;
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
    cases.push_back(
        make({rows, 1024, 512, kBf16, kBf16, kBf16, kGeglu, {.norm = true, .bias = true}}));
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

}  // namespace

std::vector<OpCase> gemm_cases() {
  std::vector<OpCase> all;
  for (const auto& cases : {combinations(Through::kOp), combinations(Through::kReference),
                            block_edges(), portable(), wide(), skinny(), thin()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

}  // namespace saccade::testing
