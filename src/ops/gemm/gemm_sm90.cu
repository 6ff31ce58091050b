// Which products the TMA kernels take, and what they are launched with.

#include <array>
#include <climits>

#include "cuda/launch.h"
#include "cuda/tensor_map.h"
#include "ops/gemm/gemm_sm90.cuh"
#include "ops/gemm/gemm_sm90.h"

namespace saccade::ops::detail {
namespace {

constexpr int kTypicalMultiprocessors = 132;

// So many row tiles of the same columns often belong to two rounds, and with weights that leave L2
// first, gate_up reads them from memory 2.8 times. With fewer row tiles that costs less than what
// weights that stay push out.
constexpr int kManyRowTiles = 7;

int multiprocessors() {
  int device = 0;
  int count = 0;
  SACCADE_CUDA_CHECK(cudaGetDevice(&device));
  SACCADE_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

bool aligned(const void* pointer, std::uintptr_t bytes = 16) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

/// Without queries, the product begins at the keys.
int first_column_of(const RopeParams& p) { return p.q ? 0 : p.heads * p.head_dim; }

bool tensor_cores_take(const GemmParams& p) {
  const int vector = 16 / int(size_of(p.x_type));
  return p.m > 0 && p.n > 0 && p.k > 0 && p.k % vector == 0 && p.x_type == p.weight_type &&
         aligned(p.x) && aligned(p.weight);
}

/// Scales of every block of k arrive by copies of 16 bytes.
bool scales_taken(Product product, const GemmParams& p) {
  if (p.x_type != DType::kE4m3) return true;
  return product == Product::kLinear ? p.m % 4 == 0 && aligned(p.x_scales) : p.x_blocks == 1;
}

/// Only the columns of one block of scales make a tile.
bool quantized_taken(const GemmParams& p) {
  if (p.activation != Activation::kGeglu || p.x_type != DType::kE4m3) return !p.quantized;
  return p.quantized && p.n % kScaleBlock == 0 && p.quantized_blocks == p.n / kScaleBlock &&
         aligned(p.quantized);
}

Form form_of(Product product, const GemmParams& g) {
  if (product == Product::kQkv || g.n % 8 != 0 || g.gate) return Form::kAny;
  const bool alone = !g.residual && !g.scaled && !g.squares;
  if (alone && (g.quantized || g.out_type == g.x_type)) return Form::kNarrow;
  const bool adds = product == Product::kLinear && g.residual && g.out_type == DType::kF32;
  return adds && (!g.scaled || g.scaled_type == narrow_type(g.x_type)) ? Form::kResidual
                                                                       : Form::kAny;
}

CUtensorMap x_map(const GemmParams& p, int box_rows) {
  const std::array<cuda::MapAxis, 2> axes{
      {{p.k, 1, block_of(size_of(p.x_type))}, {p.m, p.k, box_rows}}};
  return cuda::make_tensor_map(p.x, p.x_type, axes);
}

/// Rows of weight in the order of the product's columns (see Product): what belongs together in
/// the result becomes neighbouring eights of columns, which one thread holds.
CUtensorMap weight_map(const TiledGemm& p, Product product, const GemmTile& tile) {
  const GemmParams& g = p.gemm;
  const std::int64_t k = g.k;
  const cuda::MapAxis depth{k, 1, block_of(size_of(g.weight_type))};
  const cuda::MapAxis eight{8, k, 8};
  if (product == Product::kGeglu) {
    const std::array<cuda::MapAxis, 4> axes{
        {depth, eight, {2, g.n * k, 2}, {g.n / 8, 8 * k, tile.columns / 16}}};
    return cuda::make_tensor_map(g.weight, g.weight_type, axes);
  }
  if (product == Product::kQkv) {
    const int dim = p.rope.head_dim;
    const int heads = p.rope.heads + 2 * p.rope.kv_heads;
    const std::array<cuda::MapAxis, 5> axes{{depth,
                                             eight,
                                             {2, dim / 2 * k, 2},
                                             {dim / 16, 8 * k, head_box_columns(tile) / 16},
                                             {heads, dim * k, 1}}};
    return cuda::make_tensor_map(g.weight, g.weight_type, axes);
  }
  const std::array<cuda::MapAxis, 2> axes{{depth, {g.n, k, tile.columns}}};
  return cuda::make_tensor_map(g.weight, g.weight_type, axes);
}

void launch(Product product, const TiledGemm& p, const TileChoice& choice, CUstream_st* stream) {
  if (p.gemm.x_type == DType::kE4m3) {
    if (product == Product::kGeglu) return launch_geglu_e4m3(p, choice, stream);
    if (product == Product::kQkv) return launch_qkv_e4m3(p, choice, stream);
    return launch_linear_e4m3(p, choice, stream);
  }
  if (product == Product::kGeglu) return launch_geglu_bf16(p, choice, stream);
  if (product == Product::kQkv) return launch_qkv_bf16(p, choice, stream);
  if (p.gemm.x_type == DType::kF16) return launch_linear_f16(p, choice, stream);
  launch_linear_bf16(p, choice, stream);
}

void run(Product product, const GemmParams& gemm, const RopeParams& rope, const TileChoice& choice,
         CUstream_st* stream) {
  TiledGemm p{};
  p.gemm = gemm;
  p.rope = rope;
  p.row_tiles = choice.row_tiles;
  p.column_tiles = choice.column_tiles;
  p.units = choice.units;
  p.first_column = product == Product::kQkv ? first_column_of(rope) : 0;
  p.form = form_of(product, gemm);
  p.reads_again = choice.rounds > 1 && choice.row_tiles >= kManyRowTiles;
  p.vectors = gemm.n % 8 == 0;
  p.x_map = x_map(gemm, fetched_rows(choice.tile));
  p.x_part_map = x_map(gemm, part_box_rows(choice.tile));
  p.weight_map = weight_map(p, product, choice.tile);
  launch(product, p, choice, stream);
}

}  // namespace

TileProblem tile_problem(const GemmParams& p) {
  const bool geglu = p.activation == Activation::kGeglu;
  return {.product = geglu ? Product::kGeglu : Product::kLinear,
          .dtype = p.x_type,
          .m = p.m,
          .n = geglu ? 2 * p.n : p.n,
          .k = p.k,
          .most_column_tiles = p.squares ? p.squares_parts : INT_MAX};
}

TileProblem tile_problem(const QkvParams& p) {
  TileProblem problem = tile_problem(p.gemm);
  problem.product = Product::kQkv;
  problem.n -= first_column_of(p.rope);
  return problem;
}

bool gemm_sm90_takes(const GemmParams& p) {
  const bool form_is_compiled = p.activation == Activation::kGeglu
                                    ? form_of(Product::kGeglu, p) == Form::kNarrow
                                    : p.n % 2 == 0;
  return tensor_cores_take(p) && scales_taken(tile_problem(p).product, p) && quantized_taken(p) &&
         form_is_compiled && aligned(p.out) && aligned(p.residual) && aligned(p.scaled) &&
         !p.guidance_weights && choose_tile(tile_problem(p), kTypicalMultiprocessors).has_value();
}

void gemm_sm90(const GemmParams& p, const TileChoice& choice, CUstream_st* stream) {
  run(tile_problem(p).product, p, {}, choice, stream);
}

void gemm_sm90(const GemmParams& p, CUstream_st* stream) {
  gemm_sm90(p, *choose_tile(tile_problem(p), multiprocessors()), stream);
}

bool project_qkv_sm90_takes(const QkvParams& p) {
  const RopeParams& r = p.rope;
  return tensor_cores_take(p.gemm) && scales_taken(Product::kQkv, p.gemm) &&
         r.head_dim % (2 * kHeadColumns) == 0 && r.dtype != DType::kF32 && aligned(r.q) &&
         aligned(r.k) && aligned(r.v) && aligned(r.table, 8) &&
         choose_tile(tile_problem(p), kTypicalMultiprocessors).has_value();
}

void project_qkv_sm90(const QkvParams& p, const TileChoice& choice, CUstream_st* stream) {
  run(Product::kQkv, p.gemm, p.rope, choice, stream);
}

void project_qkv_sm90(const QkvParams& p, CUstream_st* stream) {
  project_qkv_sm90(p, *choose_tile(tile_problem(p), multiprocessors()), stream);
}

}  // namespace saccade::ops::detail
