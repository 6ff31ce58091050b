// gemm on OpenBLAS. bf16 operands are widened block by block, so that no f32 copy of a weight ever
// exists; a block is large enough that sgemm takes many times longer than the widening.

#include <cblas.h>

#include <algorithm>

#include "ops/activation/functions.h"
#include "ops/elements.h"
#include "ops/gemm/gemm.h"
#include "ops/gemm/rows.h"
#include "ops/scratch.h"

namespace saccade::ops::detail {
namespace {

constexpr int kRows = 640;  // the prefix of one or two cameras in one block
constexpr int kColumns = 512;
constexpr int kDepth = 512;

struct Scratch {
  float x[kRows * kDepth];
  float weight[kColumns * kDepth];
  float sums[kRows * kColumns];
  float up[kRows * kColumns];
};

/// A rectangle of out.
struct Block {
  int row;
  int column;
  int rows;
  int columns;
};

/// values[r, i] *= scale of x[row + r, begin + i]
void scale_x(const GemmParams& p, int row, int begin, int rows, int depth, float* values) {
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < depth; ++i) {
      values[std::int64_t(r) * depth + i] *= x_scale(p, row + r, begin + i);
    }
  }
}

/// sums = x weight^T for the block's rows of x, and rows of weight from weight_row.
void multiply(const GemmParams& p, const Block& block, int weight_row, Scratch& scratch,
              float* sums) {
  const View x{p.x, p.x_type, p.k};
  const View weight{p.weight, p.weight_type, p.k};
  const bool widens = p.x_type != DType::kF32 || p.weight_type != DType::kF32;
  const int step = widens ? kDepth : p.k;
  for (int begin = 0; begin < p.k; begin += step) {
    const int depth = std::min(step, p.k - begin);
    const F32View a = as_f32(x.at(block.row, begin), block.rows, depth, scratch.x);
    if (p.x_scales) scale_x(p, block.row, begin, block.rows, depth, scratch.x);
    const F32View b = as_f32(weight.at(weight_row, begin), block.columns, depth, scratch.weight);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, block.rows, block.columns, depth, 1.0f,
                a.data, a.stride, b.data, b.stride, begin == 0 ? 0.0f : 1.0f, sums, block.columns);
  }
}

void add(float* values, const float* terms, int count) {
  for (int i = 0; i < count; ++i) values[i] += terms[i];
}

void multiply(float* values, const float* factors, int count) {
  for (int i = 0; i < count; ++i) values[i] *= factors[i];
}

void activate(Activation activation, float* values, const float* up, int count) {
  switch (activation) {
    case Activation::kNone:
      return;
    case Activation::kGelu:
      for (int i = 0; i < count; ++i) values[i] = gelu(values[i]);
      return;
    case Activation::kSilu:
      for (int i = 0; i < count; ++i) values[i] = silu(values[i]);
      return;
    case Activation::kGeglu:
      for (int i = 0; i < count; ++i) values[i] = gelu(values[i]) * up[i];
      return;
  }
}

/// Takes one row of a block from the product to out and returns the sum of its squares. Each step
/// is a loop that vectorises, over values that stay in the first-level cache.
float finish_row(const GemmParams& p, int row, int column, int count, float* values, float* up) {
  if (p.weight_scales) {
    multiply(values, p.weight_scales + column, count);
    if (up) multiply(up, p.weight_scales + p.n + column, count);
  }
  if (p.norm_squares) {
    const float factor = norm_factor(p, row);
    for (int i = 0; i < count; ++i) values[i] *= factor;
    for (int i = 0; up && i < count; ++i) up[i] *= factor;
  }
  if (p.bias) add(values, p.bias + column, count);
  if (p.bias && up) add(up, p.bias + p.n + column, count);
  activate(p.activation, values, up, count);
  const std::int64_t first = std::int64_t(row) * p.n + column;
  for (int i = 0; p.guidance_weights && i < count; ++i) {
    values[i] = guided(p, row, first + i, values[i]);
  }
  if (p.gate) multiply(values, p.gate + column, count);
  visit_type(p.out_type, [&]<typename T>() {
    if (p.residual) {
      const T* residual = static_cast<const T*>(p.residual) + first;
      for (int i = 0; i < count; ++i) values[i] += to_float(residual[i]);
    }
    T* out = static_cast<T*>(p.out) + first;
    for (int i = 0; i < count; ++i) out[i] = from_float<T>(values[i]);
  });
  if (!p.scaled) return 0;
  visit_type(p.scaled_type, [&]<typename T>() {
    T* scaled = static_cast<T*>(p.scaled) + first;
    for (int i = 0; i < count; ++i) scaled[i] = from_float<T>(values[i] * p.scale[column + i]);
  });
  return cblas_sdot(count, values, 1, values, 1);
}

void run_block(const GemmParams& p, const Block& block, Scratch& scratch) {
  const bool geglu = p.activation == Activation::kGeglu;
  multiply(p, block, block.column, scratch, scratch.sums);
  if (geglu) multiply(p, block, p.n + block.column, scratch, scratch.up);
  for (int i = 0; i < block.rows; ++i) {
    const int offset = i * block.columns;
    const int row = block.row + i;
    const float squares = finish_row(p, row, block.column, block.columns, scratch.sums + offset,
                                     geglu ? scratch.up + offset : nullptr);
    if (!p.squares) continue;
    if (block.column == 0) {
      store_squares(p, row, squares);
    } else {
      p.squares[std::int64_t(row) * p.squares_parts] += squares;
    }
  }
}

/// The extent of equal blocks, each at most `limit`: a last block of few rows would widen all
/// weights for little work.
int even_step(int extent, int limit) {
  const int blocks = std::max(1, (extent + limit - 1) / limit);
  return (extent + blocks - 1) / blocks;
}

}  // namespace

void gemm_blas(const GemmParams& p) {
  Scratch& scratch = thread_scratch<Scratch>();
  const int rows = even_step(p.m, kRows);
  for (int row = 0; row < p.m; row += rows) {
    for (int column = 0; column < p.n; column += kColumns) {
      const Block block{row, column, std::min(rows, p.m - row), std::min(kColumns, p.n - column)};
      run_block(p, block, scratch);
    }
  }
  if (p.quantized) quantize_cpu(quantize_params(p));
}

}  // namespace saccade::ops::detail
