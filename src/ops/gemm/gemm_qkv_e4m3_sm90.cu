#include "ops/gemm/gemm_sm90_launch.cuh"

namespace saccade::ops::detail {

void launch_qkv_e4m3(const TiledGemm& p, const TileChoice& choice, CUstream_st* stream) {
  launch_chosen<__nv_fp8_e4m3, Product::kQkv, kQkvE4m3Tiles>(p, choice, stream);
}

}  // namespace saccade::ops::detail
