#pragma once

#include <type_traits>

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/wgmma.cuh"
#include "ops/gemm/gemm_sm90_forms.cuh"
#include "ops/gemm/gemm_sm90_heads.cuh"
#include "ops/gemm/gemm_sm90_supply.cuh"

// x weight^T on TMA and WGMMA. A CTA is row_groups consumer warpgroups of 64 rows each, a producer
// warp, of which one thread works, and one or three warps that fetch the terms of the epilogue.
// Stages of 128 bytes of k go round in a ring: rows of x, then rows of weight, both in the 128-byte
// swizzle. A CTA computes tile after tile, and its producer runs ahead into the next tile while the
// consumers finish theirs. Row tiles of the same columns are neighbours, so that they run together
// and share the weight in L2.
namespace saccade::ops::detail {

template <typename T, Product kProduct, GemmTile kTile>
struct TiledKernel : TiledSupply<T, kProduct, kTile> {
  using Supply = TiledSupply<T, kProduct, kTile>;
  using Supply::base;
  using Supply::block_count;
  using Supply::column_of;
  using Supply::column_vectors;
  using Supply::empty;
  using Supply::exchanged;
  using Supply::full;
  using Supply::kConsumers;
  using Supply::kShares;
  using Supply::kSplits;
  using Supply::p;
  using Supply::place_of;
  using Supply::rank;
  using Supply::row_terms;
  using Supply::shared;
  using Supply::stage_at;
  using Supply::terms_empty;
  using Supply::terms_full;
  using typename Supply::Memory;
  using typename Supply::Place;
  using typename Supply::RingState;
  using typename Supply::Scales;
  static constexpr DType kType = std::is_same_v<T, __half> ? DType::kF16 : DType::kBf16;
  static constexpr int kSums = kTile.columns / 2;  // of a thread
  static constexpr int kRowsOfThread = kThreadRows<kTile>;

  /// Gives the terms of a tile back, by a whole warp that has used them.
  __device__ void release_terms() const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(terms_empty());
  }

  /// Gives a stage back, by a whole warp. `is_read` is true: the arrival waits for it.
  __device__ void release(int stage, bool is_read = true) const {
    const int lane = int(threadIdx.x) % 32;
    if (lane == 0 && is_read) ptx::mbarrier_arrive(empty(stage));
    if (kShares && lane == 1 && is_read) ptx::mbarrier_signal_remote(empty(stage), rank ^ 1);
  }

  /// Starts one stage's products. `adds` is false for the first stage of a tile.
  __device__ void multiply(float (&sums)[kSums], int group, int stage, bool adds) const {
    const std::uint64_t x =
        ptx::k_major_128b(stage_at(stage) + group * kGroupRows * kBlockRowBytes);
    const std::uint64_t weight = ptx::k_major_128b(stage_at(stage) + Memory::kXBytes);
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kBlockRowBytes / 32; ++i) {
      ptx::Wgmma<T, kTile.columns>::ss(sums, x + 2 * i, weight + 2 * i, adds || i > 0);
    }
    ptx::wgmma_commit();
  }

  /// The sums of a tile. Calls meanwhile() when the last products are on their way: what it loads
  /// would hold back any product behind it.
  template <typename Meanwhile>
  __device__ void sum(float (&sums)[kSums], int group, RingState& ring, Meanwhile meanwhile) const {
    ptx::mbarrier_wait(full(ring.stage), ring.parity);
    multiply(sums, group, ring.stage, false);
    int previous = ring.stage;
    ring.advance();
    const int count = block_count();
    for (int block = 1; block < count; ++block) {
      ptx::mbarrier_wait(full(ring.stage), ring.parity);
      multiply(sums, group, ring.stage, true);
      ptx::wgmma_wait<1>();
      release(previous);
      previous = ring.stage;
      ring.advance();
    }
    meanwhile();
    ptx::wgmma_wait<0>();
    release(previous);
    ptx::pin_registers(sums);
  }

  /// Adds the products of a block, each times its row's scale, and gives the stage back.
  ///
  /// The arrival is made to depend on the scales, of which none is negative. To follow their loads
  /// in the program is not enough: those queue behind the operands of the other warpgroup's
  /// products, and the arrival, and the copy that it permits, would overtake them.
  __device__ void add_block(float (&sums)[kSums], float (&products)[kSums], int row,
                            int stage) const {
    const auto* scales =
        reinterpret_cast<const float*>(shared + Memory::kScales + stage * Memory::kScaleBytes);
    const float upper = scales[row];
    const float lower = scales[row + 8];
    const bool is_read = !(upper + lower < 0);
    ptx::wgmma_wait<0>();
    ptx::pin_registers(products);
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      sums[i] = fmaf(products[i], i % 4 < 2 ? upper : lower, sums[i]);
    }
    release(stage, is_read);
  }

  /// The sums over all blocks of a tile, each times its rows' scales, which also keeps short what
  /// the tensor cores add up by themselves, with about 14 bits for e4m3. Calls meanwhile() as sum()
  /// does.
  template <typename Meanwhile>
  __device__ void sum_blocks(float (&sums)[kSums], int group, RingState& ring,
                             Meanwhile meanwhile) const {
    const int row = group * kGroupRows + row_in_group();
    float products[kSums];
#pragma unroll
    for (float& sum : sums) sum = 0;
    const int count = block_count();
    for (int block = 0; block < count; ++block) {
      const int stage = ring.stage;
      ptx::mbarrier_wait(full(stage), ring.parity);
      multiply(products, group, stage, false);
      ring.advance();
      if (block == count - 1) meanwhile();
      add_block(sums, products, row, stage);
    }
  }

  /// Takes a tile's stages without reading them: a warpgroup beyond the rows of x.
  __device__ void skip(RingState& ring, std::uint32_t terms_parity) const {
    for (int block = 0; block < block_count(); ++block) {
      ptx::mbarrier_wait(full(ring.stage), ring.parity);
      release(ring.stage);
      ring.advance();
    }
    ptx::mbarrier_wait(terms_full(), terms_parity);
    release_terms();
  }

  /// Adds the other CTA's half of k: this thread's sums of row half `rank`, as those of row 0.
  __device__ void exchange(float (&sums)[kSums], int group) const {
    const int thread = int(threadIdx.x) % kGroupThreads;
    const std::uint32_t buffer = base + Memory::kExchange + group * Memory::kExchangeGroupBytes;
    const std::uint32_t barrier = exchanged(group);
    const std::uint32_t to = ptx::remote_address(buffer, rank ^ 1) + 16 * thread;
    const std::uint32_t arrived = ptx::remote_address(barrier, rank ^ 1);
#pragma unroll
    for (int i = 0; i < kSums; i += 8) {
      const bool upper = rank == 1;  // CTA 0 finishes the upper rows.
      ptx::store_async(
          to + i / 8 * 16 * kGroupThreads,
          ptx::words_of(upper ? sums[i] : sums[i + 2], upper ? sums[i + 1] : sums[i + 3],
                        upper ? sums[i + 4] : sums[i + 6], upper ? sums[i + 5] : sums[i + 7]),
          arrived);
    }
    ptx::mbarrier_wait_cluster(barrier, 0);
    const auto* words = reinterpret_cast<const float4*>(shared + Memory::kExchange +
                                                        group * Memory::kExchangeGroupBytes);
#pragma unroll
    for (int i = 0; i < kSums; i += 8) {
      const float4 other = words[i / 8 * kGroupThreads + thread];
      const bool upper = rank == 0;
      sums[i] = (upper ? sums[i] : sums[i + 2]) + other.x;
      sums[i + 1] = (upper ? sums[i + 1] : sums[i + 3]) + other.y;
      sums[i + 4] = (upper ? sums[i + 4] : sums[i + 6]) + other.z;
      sums[i + 5] = (upper ? sums[i + 5] : sums[i + 7]) + other.w;
    }
  }

  /// One tile.
  __device__ void compute(const Place& place, int group, RingState& ring,
                          std::uint32_t terms_parity) const {
    const int row = place.row + group * kGroupRows;
    const int column = column_of(place.column_tile);
    float sums[kSums];
    ThreadRow rows[kRowsOfThread];
    Residual<kTile> residual[kRowsOfThread];
    Turns turns[kRowsOfThread];
    const auto load_terms = [&] {
      ptx::mbarrier_wait(terms_full(), terms_parity);
      take_rows<kProduct, kTile>(p, row_terms(), place.row, group * kGroupRows, rank, rows);
#pragma unroll
      for (int i = 0; i < kRowsOfThread; ++i) {
        if constexpr (kProduct == Product::kQkv) {
          turns[i].load(p.rope, HeadChunk::at(p.rope, column), rows[i].position);
        } else if constexpr (kProduct == Product::kLinear) {
          residual[i].load_early(p, rows[i].row, column);
        }
      }
    };
    if constexpr (Scales::kBlocks) {
      sum_blocks(sums, group, ring, load_terms);
    } else {
      sum(sums, group, ring, load_terms);
    }
    if constexpr (kSplits) exchange(sums, group);
    if constexpr (kProduct == Product::kQkv) {
      finish_heads<kTile>(p, sums, rows, turns, column_vectors(), column);
    } else if (place.column_tile < p.column_tiles) {
      finish<kProduct, kTile, kType>(p, sums, rows, residual, column_vectors(), place.column_tile);
    }
    release_terms();
  }

  __device__ void consume(int group) const {
    RingState ring;
    std::uint32_t parity = 0;  // of the terms
    for (int unit = this->first_unit(); unit < p.units; unit += this->unit_step()) {
      const Place place = place_of(unit);
      if (place.row + group * kGroupRows < p.gemm.m) {
        compute(place, group, ring, parity);
      } else {
        skip(ring, parity);
      }
      parity ^= 1;
    }
  }

  /// Registers move from these to consumers whose sums need them.
  __device__ void run(int group) const {
    constexpr bool kMoves = !Memory::kNarrow;
    static_assert(!kMoves || kTile.row_groups == 2 || kTile.row_groups == 3);
    if (group == kTile.row_groups) {
      if constexpr (kMoves) ptx::shrink_registers<56>();
      this->supply(int(threadIdx.x) - kConsumers);
    } else {
      if constexpr (kMoves) ptx::grow_registers<kTile.row_groups == 2 ? 224 : 152>();
      cuda::wait_for_previous();
      consume(group);
    }
  }
};

}  // namespace saccade::ops::detail
