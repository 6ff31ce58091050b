#include "ops/gemm/gemm_sm90_launch.cuh"

namespace saccade::ops::detail {

void launch_linear_f16(const TiledGemm& p, const TileChoice& choice, CUstream_st* stream) {
  launch_chosen<__half, Product::kLinear, kLinearF16Tiles>(p, choice, stream);
}

}  // namespace saccade::ops::detail
