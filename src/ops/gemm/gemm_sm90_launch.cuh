#pragma once

#include <utility>

#include "cuda/launch.h"
#include "ops/gemm/gemm_sm90_kernel.cuh"

namespace saccade::ops::detail {

/// nvcc writes no host code for a kernel that has a structure as template argument.
template <typename T, Product kProduct, int kRowGroups, int kColumns, Pair kPair>
__global__ void __launch_bounds__((threads_of<Scaling<T, kProduct>>(GemmTile{kRowGroups, kColumns,
                                                                             kPair})),
                                  1) gemm_tiles(const __grid_constant__ TiledGemm p) {
  using Kernel = TiledKernel<T, kProduct, GemmTile{kRowGroups, kColumns, kPair}>;
  extern __shared__ std::uint8_t memory[];
  cuda::allow_next();
  const std::uint32_t address = ptx::shared_address(memory);
  const std::uint32_t base = (address + 1023) / 1024 * 1024;
  const int rank = Kernel::kPaired ? int(ptx::cluster_rank()) : 0;
  const Kernel kernel{{p, memory + (base - address), base, rank}};
  if (threadIdx.x == 0) kernel.init_barriers();
  if constexpr (Kernel::kPaired) {
    ptx::cluster_arrive_relaxed();
    ptx::cluster_wait();
  } else {
    __syncthreads();
  }
  kernel.run(__shfl_sync(~0u, int(threadIdx.x) / kGroupThreads, 0));
  if constexpr (Kernel::kPaired) {
    // Neither CTA leaves while the other may write to its shared memory.
    ptx::cluster_arrive_relaxed();
    ptx::cluster_wait();
  }
}

template <typename T, Product kProduct, GemmTile kTile>
void launch_tile(const TiledGemm& p, int ctas, CUstream_st* stream) {
  cuda::launch(gemm_tiles<T, kProduct, kTile.row_groups, kTile.columns, kTile.pair>,
               {.grid = dim3(unsigned(ctas)),
                .block = dim3(unsigned(threads_of<Scaling<T, kProduct>>(kTile))),
                .shared_bytes = TileMemory<kTile, Scaling<T, kProduct>>::kAllBytes,
                .order = cuda::Order::kOverlap,
                .cluster = unsigned(kTile.cluster())},
               stream, p);
}

/// Launches the tile of `kTiles` that `choice` names.
template <typename T, Product kProduct, const auto& kTiles>
void launch_chosen(const TiledGemm& p, const TileChoice& choice, CUstream_st* stream) {
  [&]<std::size_t... kIndex>(std::index_sequence<kIndex...>) {
    ((choice.index == int(kIndex) ? launch_tile<T, kProduct, kTiles[kIndex]>(p, choice.ctas, stream)
                                  : void()),
     ...);
  }
  (std::make_index_sequence<std::size(kTiles)>());
}

}  // namespace saccade::ops::detail
