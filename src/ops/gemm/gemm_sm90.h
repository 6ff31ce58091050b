#pragma once

#include "ops/gemm/gemm.h"
#include "ops/gemm/tiles.h"

// gemm_sm90 with a tile of the caller's choice, for tests and benches of each.
namespace saccade::ops::detail {

TileProblem tile_problem(const GemmParams&);
TileProblem tile_problem(const QkvParams&);

/// The choice is one for the product's tile problem; its index names the kernel.
void gemm_sm90(const GemmParams&, const TileChoice&, CUstream_st*);
void project_qkv_sm90(const QkvParams&, const TileChoice&, CUstream_st*);

}  // namespace saccade::ops::detail
