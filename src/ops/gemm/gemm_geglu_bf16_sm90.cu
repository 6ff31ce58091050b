#include "ops/gemm/gemm_sm90_launch.cuh"

namespace saccade::ops::detail {

void launch_geglu_bf16(const TiledGemm& p, const TileChoice& choice, CUstream_st* stream) {
  launch_chosen<__nv_bfloat16, Product::kGeglu, kGegluBf16Tiles>(p, choice, stream);
}

}  // namespace saccade::ops::detail
