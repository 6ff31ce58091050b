#pragma once

#include <type_traits>

#include "cuda/launch.h"
#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/wgmma.cuh"
#include "ops/gemm/gemm_sm90_forms.cuh"
#include "ops/gemm/gemm_sm90_heads.cuh"

// x weight^T on TMA and WGMMA. A CTA is row_groups consumer warpgroups of 64 rows each, a producer
// warp, of which one thread works, and one or three warps that fetch the terms of the epilogue.
// Stages of 128 bytes of k go round in a ring: rows of x, then rows of weight, both in the 128-byte
// swizzle. A CTA computes tile after tile, and its producer runs ahead into the next tile while the
// consumers finish theirs. Row tiles of the same columns are neighbours, so that they run together
// and share the weight in L2.
namespace saccade::ops::detail {

template <typename T, Product kProduct, GemmTile kTile>
struct TiledKernel {
  using Scales = Scaling<T, kProduct>;
  using Memory = TileMemory<kTile, Scales>;
  using RingState = Ring<Memory::kStages>;
  static constexpr DType kType = std::is_same_v<T, __half> ? DType::kF16 : DType::kBf16;
  static constexpr int kBlock = block_of(sizeof(T));
  static constexpr bool kPaired = kTile.pair != Pair::kNone;
  static constexpr bool kSplits = kTile.pair == Pair::kSplitK;
  static constexpr bool kShares = kTile.pair == Pair::kShareX;
  static constexpr int kRows = kTile.rows();
  static constexpr int kCluster = kTile.cluster();
  static constexpr int kSums = kTile.columns / 2;  // of a thread
  static constexpr int kRowsOfThread = kThreadRows<kTile>;
  static constexpr int kConsumers = kGroupThreads * kTile.row_groups;
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
      ptx::mbarrier_init(empty(stage), 4 * kTile.row_groups * (kShares ? 2 : 1));
    }
    ptx::mbarrier_init(terms_full(), kTermThreads);
    ptx::mbarrier_init(terms_empty(), kConsumers / 32);
    for (int group = 0; kSplits && group < kTile.row_groups; ++group) {
      ptx::mbarrier_init(exchanged(group), 1);
      ptx::mbarrier_expect(exchanged(group), Memory::kExchangeGroupBytes);
    }
    ptx::fence_mbarrier_init();
  }

  // --- the producer, one thread ---

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

  /// Before wait_for_previous(): weights into the whole ring. Returns the number of stages.
  __device__ int produce_early(std::uint64_t policy) const {
    ptx::prefetch_tensor_map(&p.x_map);
    ptx::prefetch_tensor_map(&p.weight_map);
    const int count = min(Memory::kStages, block_count());
    const Place place = place_of(first_unit());
    for (int stage = 0; stage < count; ++stage) {
      ptx::mbarrier_expect(full(stage), stage_bytes(place.row));
      load_weight(stage, weight_place(place), first_block() + stage, policy);
    }
    return count;
  }

  __device__ void produce(int early, std::uint64_t policy) const {
    RingState ring;
    for (int unit = first_unit(); unit < p.units; unit += unit_step()) {
      const Place place = place_of(unit);
      const WeightPlace weight = weight_place(place);
      for (int block = first_block(); block < first_block() + block_count(); ++block) {
        if (--early < 0) {
          ptx::mbarrier_wait(empty(ring.stage), ring.parity ^ 1);
          ptx::mbarrier_expect(full(ring.stage), stage_bytes(place.row));
          load_weight(ring.stage, weight, block, policy);
        }
        load_x(ring.stage, place.row, block);
        ring.advance();
      }
    }
  }

  // --- the threads that fetch terms ---

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

  __device__ void fetch_columns_of(int unit, int thread) const {
    const int column = column_of(place_of(unit).column_tile);
    fetch_columns<kProduct, kTile>(p, column_vectors(), column, thread, kTermThreads);
  }

  /// Those of the first tile's columns, which no kernel of a chain writes, are there already.
  __device__ void fetch_terms(int thread) const {
    std::uint32_t parity = 1;
    for (int unit = first_unit(); unit < p.units; unit += unit_step()) {
      ptx::mbarrier_wait(terms_empty(), parity);
      if (unit != first_unit()) fetch_columns_of(unit, thread);
      constexpr bool kRowScales = Scales::kScaled && !Scales::kBlocks;
      fetch_rows<kProduct, kTile, kRowScales>(p, row_terms(), place_of(unit).row, thread,
                                              kTermThreads);
      ptx::mbarrier_arrive(terms_full());
      parity ^= 1;
    }
  }

  // --- the consumers ---

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
    const int row =
        group * kGroupRows + int(threadIdx.x) % kGroupThreads / 32 * 16 + int(threadIdx.x) % 32 / 4;
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
    for (int unit = first_unit(); unit < p.units; unit += unit_step()) {
      const Place place = place_of(unit);
      if (place.row + group * kGroupRows < p.gemm.m) {
        compute(place, group, ring, parity);
      } else {
        skip(ring, parity);
      }
      parity ^= 1;
    }
  }

  /// By the threads that do not multiply.
  __device__ void beside(int thread) const {
    if (thread >= 32) {
      fetch_columns_of(first_unit(), thread - 32);
      cuda::wait_for_previous();
      return fetch_terms(thread - 32);
    }
    const std::uint64_t policy =
        p.reads_again ? ptx::evict_normal_policy() : ptx::evict_first_policy();
    const int early = thread == 0 ? produce_early(policy) : 0;
    cuda::wait_for_previous();
    if (thread == 0) produce(early, policy);
    __syncwarp();
  }

  /// Registers move from these to consumers whose sums need them.
  __device__ void run(int group) const {
    constexpr bool kMoves = !Memory::kNarrow;
    if (group == kTile.row_groups) {
      if constexpr (kMoves && kTile.row_groups == 2) ptx::shrink_registers<56>();
      if constexpr (kMoves && kTile.row_groups == 3) ptx::shrink_registers<56>();
      beside(int(threadIdx.x) - kConsumers);
    } else {
      if constexpr (kMoves && kTile.row_groups == 2) ptx::grow_registers<224>();
      if constexpr (kMoves && kTile.row_groups == 3) ptx::grow_registers<152>();
      cuda::wait_for_previous();
      consume(group);
    }
  }
};

}  // namespace saccade::ops::detail
