#include <algorithm>
#include <cmath>

#include "definitions.h"
#include "ops/gemm/gemm.h"
#include "ops/op_case.h"

namespace saccade::testing {
namespace {

using ops::Activation;

enum class With { kNothing, kAll, kResidualInPlace };
enum class Through { kOp, kReference };

struct Gemm {
  int m;
  int k;
  int n;
  DType x = DType::kF32;
  DType weight = DType::kF32;
  DType out = DType::kF32;
  Activation activation = Activation::kNone;
  With with = With::kNothing;
  Through through = Through::kOp;

  int weight_rows() const { return activation == Activation::kGeglu ? 2 * n : n; }
};

// The places of the inputs.
enum : std::size_t { kX, kWeight, kBias, kGate, kResidual };

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

Values exact(const Gemm& g, std::span<const Values> in) {
  Values out(std::size_t(g.m) * g.n);
  Values sums(g.weight_rows());
  for (int row = 0; row < g.m; ++row) {
    for (int column = 0; column < g.weight_rows(); ++column) {
      const double* x = in[kX].data() + std::size_t(row) * g.k;
      const double* weight = in[kWeight].data() + std::size_t(column) * g.k;
      double sum = g.with == With::kAll ? in[kBias][column] : 0;
      for (int i = 0; i < g.k; ++i) sum += x[i] * weight[i];
      sums[column] = sum;
    }
    for (int column = 0; column < g.n; ++column) {
      const std::size_t index = std::size_t(row) * g.n + column;
      out[index] = activated(g, sums, column);
      if (g.with == With::kAll) out[index] *= in[kGate][column];
      if (g.with != With::kNothing) out[index] += in[kResidual][index];
    }
  }
  return out;
}

void run(const Gemm& g, const Stream& s, std::span<const Tensor> in, Tensor out) {
  ops::GemmEpilogue epilogue{.activation = g.activation};
  if (g.with == With::kAll) {
    epilogue.bias = in[kBias];
    epilogue.gate = in[kGate];
    epilogue.residual = in[kResidual];
  }
  if (g.with == With::kResidualInPlace) epilogue.residual = out;
  if (g.through == Through::kOp) return ops::gemm(s, in[kX], in[kWeight], epilogue, out);
  ops::detail::gemm_cpu(ops::detail::gemm_params(s, in[kX], in[kWeight], epilogue, out));
}

std::string name_of(const Gemm& g) {
  constexpr const char* kActivations[] = {"", "/gelu", "/silu", "/geglu"};
  constexpr const char* kWith[] = {"", "/bias_gate_residual", "/in_place"};
  return std::string(g.through == Through::kOp ? "gemm/" : "gemm_cpu/") + saccade::name_of(g.x) +
         "_" + saccade::name_of(g.weight) + "_" + saccade::name_of(g.out) + "/" +
         extents({g.m, g.k, g.n}) + kActivations[int(g.activation)] + kWith[int(g.with)];
}

OpCase make(const Gemm& g) {
  const double out_size = double(g.m) * g.n;
  // Weights of 1 / sqrt(k), as in a network, so that activations are used where they bend.
  OpCase op{
      .name = name_of(g),
      .inputs = {{{g.m, g.k}, g.x},
                 {{g.weight_rows(), g.k}, g.weight, fill_normal_of(1 / std::sqrt(float(g.k)))},
                 {{g.weight_rows()}, DType::kF32},
                 {{g.n}, DType::kF32},
                 {{g.m, g.n}, g.out}},
      .outputs = {{{g.m, g.n}, g.out}},
      .run = [=](const Stream& s, std::span<const Tensor> in,
                 std::span<const Tensor> out) { run(g, s, in, out[0]); },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> { return {exact(g, in)}; },
      // Rounding errors of a sequential f32 sum grow as sqrt(k).
      .tolerance = std::max(tolerance_of(g.out), 1e-7 * std::sqrt(double(g.k))),
      .flops = 2.0 * g.m * g.k * g.weight_rows(),
      .bytes = double(g.m) * g.k * double(size_of(g.x)) +
               double(g.weight_rows()) * g.k * double(size_of(g.weight)) +
               out_size * double(size_of(g.out)),
  };
  if (g.with == With::kResidualInPlace) op.outputs[0].starts_as = kResidual;
  return op;
}

constexpr auto kF32 = DType::kF32;
constexpr auto kBf16 = DType::kBf16;
constexpr auto kNone = Activation::kNone;
constexpr auto kGelu = Activation::kGelu;
constexpr auto kSilu = Activation::kSilu;
constexpr auto kGeglu = Activation::kGeglu;

/// Every mix of types and every epilogue, at an awkward size.
void add_combinations(std::vector<OpCase>& cases) {
  for (Through through : {Through::kOp, Through::kReference}) {
    for (DType x : {kF32, kBf16}) {
      for (DType weight : {kF32, kBf16}) {
        for (DType out : {kF32, kBf16}) {
          cases.push_back(make({5, 33, 17, x, weight, out, kGeglu, With::kAll, through}));
        }
      }
    }
    for (Activation activation : {kNone, kGelu, kSilu, kGeglu}) {
      for (With with : {With::kNothing, With::kAll, With::kResidualInPlace}) {
        cases.push_back(make({3, 65, 31, kF32, kBf16, kF32, activation, with, through}));
        cases.push_back(make({3, 65, 31, kF32, kF32, kF32, activation, with, through}));
      }
    }
    cases.push_back(make({4, 8, 9, kBf16, kBf16, kBf16, kNone, With::kResidualInPlace, through}));
  }
}

}  // namespace

std::vector<OpCase> gemm_cases() {
  std::vector<OpCase> cases{
      make({1, 1, 1}),
      make({1, 1, 1, kBf16, kBf16, kBf16, kGeglu, With::kAll}),
      make({1, 1, 1, kF32, kF32, kF32, kNone, With::kAll, Through::kReference}),
      // One less, and one more, than a block of rows, columns or depth.
      make({639, 5, 3, kBf16, kBf16, kF32}),
      make({641, 5, 3, kBf16, kBf16, kF32, kGeglu, With::kAll}),
      make({3, 7, 511, kF32, kBf16, kF32, kGeglu, With::kAll}),
      make({3, 7, 513, kF32, kBf16, kF32, kGeglu, With::kAll}),
      make({3, 511, 5, kBf16, kBf16, kF32}),
      make({3, 513, 5, kBf16, kBf16, kF32, kNone, With::kResidualInPlace}),
      make({641, 513, 513, kF32, kBf16, kBf16, kGelu, With::kAll}),
      make({17, 16384, 33, kF32, kBf16, kF32}),  // the longest sum
      make({17, 16384, 33, kF32, kF32, kF32}),
      // A policy's layers with fewer columns.
      make({532, 2048, 64, kBf16, kBf16, kBf16, kGeglu}),
      make({50, 1024, 520, kF32, kBf16, kF32, kGeglu}),
      make({256, 1152, 100, kBf16, kBf16, kBf16, kGelu, With::kAll}),
      make({1, 1024, 1024, kF32, kF32, kF32, kSilu, With::kAll}),
  };
  add_combinations(cases);
  return cases;
}

}  // namespace saccade::testing
