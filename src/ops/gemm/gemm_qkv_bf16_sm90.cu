#include "ops/gemm/gemm_sm90_launch.cuh"

namespace saccade::ops::detail {

void launch_qkv_bf16(const TiledGemm& p, const TileChoice& choice, CUstream_st* stream) {
  launch_chosen<__nv_bfloat16, Product::kQkv, kQkvBf16Tiles>(p, choice, stream);
}

}  // namespace saccade::ops::detail
