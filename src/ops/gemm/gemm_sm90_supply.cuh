#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "ops/gemm/gemm_sm90.cuh"
#include "ops/gemm/gemm_sm90_terms.cuh"

// What the consumers of gemm_sm90_kernel.cuh are supplied with: stages of x and weight in a ring,
// and the terms of the epilogue.
namespace saccade::ops::detail {

template <typename T, Product kProduct, GemmTile kTile>
struct TiledSupply {
  using Scales = Scaling<T, kProduct>;
  using Memory = TileMemory<kTile, Scales>;
  using RingState = Ring<Memory::kStages>;
  static constexpr int kBlock = block_of(sizeof(T));
  static constexpr bool kPaired = kTile.pair != Pair::kNone;
  static constexpr bool kSplits = kTile.pair == Pair::kSplitK;
  static constexpr bool kShares = kTile.pair == Pair::kShareX;
  static constexpr int kRows = kTile.rows();
  static constexpr int kCluster = kTile.cluster();
  static constexpr int kConsumers = kGroupThreads * kTile.row_groups;
  // Beside the consumers, one warp copies and the others fetch terms.
  static constexpr int kTermThreads = threads_of<Scales>(kTile) - kConsumers - 32;

  const TiledGemm& p;
  std::uint8_t* shared;
  std::uint32_t base;  // the address of `shared`
  int rank;            // in the cluster

  struct Place {
    int row;
    int column_tile;
  };

  __device__ Place place_of(int unit) const {
    const int column = unit / p.row_tiles;
    return {unit % p.row_tiles * kRows, kShares ? 2 * column + rank : column};
  }

  /// The blocks of k that this CTA multiplies: [first, first + count).
  __device__ int blocks() const { return (p.gemm.k + kBlock - 1) / kBlock; }
  __device__ int first_block() const { return kSplits && rank == 1 ? (blocks() + 1) / 2 : 0; }
  __device__ int block_count() const { return kSplits ? (blocks() + 1 - rank) / 2 : blocks(); }

  __device__ int first_unit() const { return int(blockIdx.x) / kCluster; }
  __device__ int unit_step() const { return int(gridDim.x) / kCluster; }

  __device__ std::uint32_t stage_at(int stage) const { return base + stage * Memory::kStageBytes; }
  __device__ std::uint32_t full(int stage) const { return base + Memory::kFull + 8 * stage; }
  __device__ std::uint32_t empty(int stage) const { return base + Memory::kEmpty + 8 * stage; }
  __device__ std::uint32_t terms_full() const { return base + Memory::kTermsFull; }
  __device__ std::uint32_t terms_empty() const { return base + Memory::kTermsEmpty; }
  __device__ std::uint32_t exchanged(int group) const {
    return base + Memory::kExchanged + 8 * group;
  }

  __device__ void init_barriers() const {
    for (int stage = 0; stage < Memory::kStages; ++stage) {
      ptx::mbarrier_init(full(stage), 1);
      // A stage is free when each consumer warp that reads it says so; a shared one is filled
      // from both CTAs at once.
      ptx::mbarrier_init(empty(stage), kConsumers / 32 * (kShares ? 2 : 1));
    }
    ptx::mbarrier_init(terms_full(), kTermThreads);
    ptx::mbarrier_init(terms_empty(), kConsumers / 32);
    for (int group = 0; kSplits && group < kTile.row_groups; ++group) {
      ptx::mbarrier_init(exchanged(group), 1);
      ptx::mbarrier_expect(exchanged(group), Memory::kExchangeGroupBytes);
    }
    ptx::fence_mbarrier_init();
  }

  // --- copies, each by one thread ---

  /// Where the rows of weight of a tile begin, in coordinates of the map.
  struct WeightPlace {
    int sixteenth;  // kLinear: the row
    int head;       // kQkv only
  };

  __device__ WeightPlace weight_place(const Place& place) const {
    const int column = column_of(place.column_tile);
    if constexpr (kProduct == Product::kLinear) return {column, 0};
    if constexpr (kProduct == Product::kGeglu) return {column / 16, 0};
    return {column % p.rope.head_dim / 16, column / p.rope.head_dim};
  }

  __device__ void load_weight(int stage, WeightPlace from, int block, std::uint64_t policy) const {
    const std::uint32_t to = stage_at(stage) + Memory::kXBytes;
    const int k = block * kBlock;
    if constexpr (kProduct == Product::kLinear) {
      ptx::tensor_load(to, &p.weight_map, k, from.sixteenth, full(stage), policy);
    } else if constexpr (kProduct == Product::kGeglu) {
      ptx::tensor_load(to, &p.weight_map, k, 0, 0, from.sixteenth, full(stage), policy);
    } else {
#pragma unroll
      for (int i = 0; i < kTile.columns; i += Memory::kHeadBox) {
        ptx::tensor_load(to + i * kBlockRowBytes, &p.weight_map, k, 0, 0, from.sixteenth, from.head,
                         full(stage), policy);
        from.sixteenth += Memory::kHeadBox / 16;
        if (16 * from.sixteenth < p.rope.head_dim) continue;
        from.sixteenth = 0;
        ++from.head;
      }
    }
  }

  /// One thread's share of the rows' scales in a block.
  __device__ std::uint32_t scales_at(int stage) const {
    return base + Memory::kScales + stage * Memory::kScaleBytes;
  }

  __device__ int rows_from(int row) const { return min(kRows, p.gemm.m - row); }

  __device__ void load_scales(int stage, int row, int block) const {
    const std::int64_t first = p.gemm.x_blocks == 1 ? 0 : block;
    ptx::bulk_load(scales_at(stage), p.gemm.x_scales + first * p.gemm.m + row,
                   rows_from(row) * int(sizeof(float)), full(stage));
  }

  __device__ void load_x(int stage, int row, int block) const {
    if constexpr (Scales::kBlocks) load_scales(stage, row, block);
    constexpr int kFetched = Memory::kFetchedRows;
    const int first = kShares ? rank * kFetched : 0;
    const auto load_box = [&](const CUtensorMap& map, int i) {
      const std::uint32_t to = stage_at(stage) + i * kBlockRowBytes;
      if constexpr (kShares) {
        ptx::tensor_load_multicast(to, &map, block * kBlock, row + i, full(stage), 3);
      } else {
        ptx::tensor_load(to, &map, block * kBlock, row + i, full(stage));
      }
    };
    if (row + kRows <= p.gemm.m) return load_box(p.x_map, first);
#pragma unroll
    for (int i = first; i < first + kFetched; i += Memory::kPartBoxRows) {
      if (row + i < p.gemm.m) load_box(p.x_part_map, i);
    }
  }

  /// What a stage of the tile that begins at `row` receives, from both CTAs.
  __device__ std::uint32_t stage_bytes(int row) const {
    constexpr int kBox = Memory::kPartBoxRows;
    const int boxes = (rows_from(row) + kBox - 1) / kBox;
    const int scales = Scales::kBlocks ? rows_from(row) * int(sizeof(float)) : 0;
    return (boxes * kBox + kTile.columns) * kBlockRowBytes + scales;
  }

  /// The product's first column of a tile.
  __device__ int column_of(int column_tile) const {
    return p.first_column + column_tile * kTile.columns;
  }

  // --- the threads that do not multiply ---

  /// The blocks of a tile that an empty ring takes.
  __device__ int first_blocks() const { return min(Memory::kStages, block_count()); }

  /// Their weights, of the first tile. Before wait_for_previous().
  __device__ void load_early_weights(std::uint64_t policy) const {
    ptx::prefetch_tensor_map(&p.weight_map);
    const Place place = place_of(first_unit());
    for (int stage = 0; stage < first_blocks(); ++stage) {
      ptx::mbarrier_expect(full(stage), stage_bytes(place.row));
      load_weight(stage, weight_place(place), first_block() + stage, policy);
    }
  }

  __device__ void load_early_x() const {
    const Place place = place_of(first_unit());
    for (int stage = 0; stage < first_blocks(); ++stage) {
      load_x(stage, place.row, first_block() + stage);
    }
  }

  /// Blocks [begin, end) of a tile into the ring.
  __device__ void load_blocks(RingState& ring, const Place& place, int begin, int end,
                              std::uint64_t policy) const {
    const WeightPlace weight = weight_place(place);
    for (int block = first_block() + begin; block < first_block() + end; ++block) {
      ptx::mbarrier_wait(empty(ring.stage), ring.parity ^ 1);
      ptx::mbarrier_expect(full(ring.stage), stage_bytes(place.row));
      load_weight(ring.stage, weight, block, policy);
      load_x(ring.stage, place.row, block);
      ring.advance();
    }
  }

  __device__ float* terms() const { return reinterpret_cast<float*>(shared + Memory::kTermsAt); }

  __device__ ColumnVectors<Scales::kScaled> column_vectors() const {
    float* const first = terms();
    constexpr int kColumns = kTile.columns;
    return {first, first + kColumns, first + 2 * kColumns, first + 3 * kColumns};
  }

  __device__ RowTerms row_terms() const {
    float* const first = terms() + Memory::kColumnTerms * kTile.columns;
    return {first, reinterpret_cast<int*>(first + kRows)};
  }

  /// By all kTermThreads. `parity` is that of the terms of the tile before.
  __device__ void fetch_terms(const Place& place, int thread, std::uint32_t parity) const {
    ptx::mbarrier_wait(terms_empty(), parity);
    fetch_columns<kProduct, kTile, kTermThreads>(p, column_vectors(), column_of(place.column_tile),
                                                 thread);
    constexpr bool kRowScales = Scales::kScaled && !Scales::kBlocks;
    fetch_rows<kProduct, kTile, kTermThreads, kRowScales>(p, row_terms(), place.row, thread);
    ptx::mbarrier_arrive(terms_full());
  }

  __device__ void copy(std::uint64_t policy) const {
    RingState ring;
    ring.advance(first_blocks());
    for (int unit = first_unit(); unit < p.units; unit += unit_step()) {
      const int begin = unit == first_unit() ? first_blocks() : 0;
      load_blocks(ring, place_of(unit), begin, block_count(), policy);
    }
  }

  __device__ void fetch(int thread) const {
    std::uint32_t parity = 1;
    for (int unit = first_unit(); unit < p.units; unit += unit_step()) {
      fetch_terms(place_of(unit), thread, parity);
      parity ^= 1;
    }
  }

  /// The threads that fetch also ask for the first x: in a CTA that starts late, the one that
  /// copies is still asking for weights when that x is there.
  __device__ void supply(int thread) const {
    const std::uint64_t policy =
        p.reads_again ? ptx::evict_normal_policy() : ptx::evict_first_policy();
    if (thread == 0) load_early_weights(policy);
    if (thread == 32) ptx::prefetch_tensor_map(&p.x_map);
    cuda::wait_for_previous();
    if (thread == 32) load_early_x();
    __syncwarp();
    if (thread >= 32) return fetch(thread - 32);
    if (thread == 0) copy(policy);
    __syncwarp();
  }
};

}  // namespace saccade::ops::detail
