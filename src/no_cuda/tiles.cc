// gemm_sm90 with a tile of the caller's choice, in a build without CUDA: never called, as in
// ops.cc.

#include "core/check.h"
#include "ops/gemm/gemm_sm90.h"

namespace saccade::ops::detail {

void gemm_sm90(const GemmParams&, const TileChoice&, CUstream_st*) {
  fail("cuda", "this build has no CUDA");
}

void project_qkv_sm90(const QkvParams&, const TileChoice&, CUstream_st*) {
  fail("cuda", "this build has no CUDA");
}

}  // namespace saccade::ops::detail
