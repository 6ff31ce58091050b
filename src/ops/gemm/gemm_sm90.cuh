#pragma once

#include <cuda.h>

#include <algorithm>
#include <cstdint>

#include "ops/gemm/gemm.h"
#include "ops/gemm/tiles.h"

// What the files of gemm_sm90 share.
namespace saccade::ops::detail {

/// What becomes of a product that is no kQkv; of kGeglu, kNarrow.
enum class Form : std::uint8_t {
  kAny,
  kNarrow,   // the activated product alone, in the type of x; n a multiple of 8, of 128 for e4m3
  kResidual  // added to f32 rows, with or without outputs for a next norm; n a multiple of 8
};

struct TiledGemm {
  CUtensorMap x_map;       // a CTA's rows of a tile in one box
  CUtensorMap x_part_map;  // in boxes of part_box_rows()
  CUtensorMap weight_map;  // see weight_map() for the order of a tile's columns
  GemmParams gemm;
  RopeParams rope;  // kQkv only
  int row_tiles;
  int column_tiles;
  int units;
  int first_column;  // kQkv without queries begins at the keys
  Form form;
  bool reads_again;  // weights, in a later round
  bool vectors;      // rows of out and scaled are 16-byte aligned
};

constexpr int kBlockRowBytes = 128;  // of k in a stage: a row of swizzled memory

/// Elements of k in a stage.
constexpr int block_of(std::size_t element_bytes) { return kBlockRowBytes / int(element_bytes); }

static_assert(block_of(1) == kScaleBlock);
constexpr int kHeadColumns = 64;  // of kQkv: one chunk of results
constexpr int kGroupRows = 64;    // of a warpgroup
constexpr int kGroupThreads = 128;

/// Rows of x that one CTA fetches.
constexpr int fetched_rows(const GemmTile& tile) {
  return tile.pair == Pair::kShareX ? tile.rows() / 2 : tile.rows();
}

/// Rows of x in a TMA box where m ends within a tile, a divisor of fetched_rows(). Boxes beyond m
/// are not fetched: filling shared memory with zeros takes longer than reading.
constexpr int part_box_rows(const GemmTile& tile) {
  return fetched_rows(tile) % kGroupRows == 0 ? kGroupRows : kGroupRows / 2;
}

/// Columns of a kQkv tile that are one box of weight: a part of one head.
constexpr int head_box_columns(const GemmTile& tile) {
  return tile.columns % (2 * kHeadColumns) == 0 ? 2 * kHeadColumns : kHeadColumns;
}

/// Columns of out in a tile.
template <Product kProduct, GemmTile kTile>
inline constexpr int kOutColumns = kProduct == Product::kGeglu ? kTile.columns / 2 : kTile.columns;

/// The type of the narrow results of a product: e4m3 is none that a sum is rounded to by itself.
constexpr DType narrow_type(DType x_type) { return x_type == DType::kE4m3 ? DType::kBf16 : x_type; }

/// What products of some type need beside their tile.
template <typename T, Product kProduct>
struct Scaling {
  static constexpr bool kScaled = sizeof(T) == 1;
  // The sums of a block of k are scaled by its row's scale in that block. Where a row has one
  // scale, its whole sum is.
  static constexpr bool kBlocks = kScaled && kProduct == Product::kLinear;
};

/// Tiles whose sums leave a thread enough registers have two warps beside the consumers, not four.
/// Other kernels' CTAs then fit beside theirs, such as a norm's.
template <typename Scaling>
constexpr bool is_narrow(const GemmTile& tile) {
  return tile.row_groups <= 2 && tile.columns <= 160 && !Scaling::kBlocks;
}

template <typename Scaling>
constexpr int threads_of(const GemmTile& tile) {
  return kGroupThreads * tile.row_groups + (is_narrow<Scaling>(tile) ? 64 : kGroupThreads);
}

/// Where a CTA keeps what in its shared memory: byte offsets from a multiple of 1024.
template <GemmTile kTile, typename Scaling>
struct TileMemory {
  static constexpr bool kSplits = kTile.pair == Pair::kSplitK;
  static constexpr bool kNarrow = is_narrow<Scaling>(kTile);
  static constexpr int kFetchedRows = fetched_rows(kTile);
  static constexpr int kPartBoxRows = part_box_rows(kTile);
  static constexpr int kHeadBox = head_box_columns(kTile);
  // What a CTA may have, less the alignment and, where registers allow it, two CTAs of a norm.
  static constexpr int kBytes = (kNarrow ? 222 : 226) * 1024;
  static constexpr int kXBytes = kTile.rows() * kBlockRowBytes;
  static constexpr int kStageBytes = kXBytes + kTile.columns * kBlockRowBytes;
  static constexpr int kScaleBytes = Scaling::kBlocks ? kTile.rows() * int(sizeof(float)) : 0;
  // Half of the tile's f32 sums; each warpgroup's part is 16-byte words, thread after thread.
  static constexpr int kExchangeGroupBytes = kSplits ? kGroupThreads * kTile.columns : 0;
  static constexpr int kExchangeBytes = kTile.row_groups * kExchangeGroupBytes;
  // bias, gate and scale of the columns, and the scale of their weight.
  static constexpr int kColumnTerms = Scaling::kScaled ? 4 : 3;
  static constexpr int kRowTerms = 2;  // factor and position
  static constexpr int kTermBytes =
      (kColumnTerms * kTile.columns + kRowTerms * kTile.rows()) * int(sizeof(float));
  static constexpr int kBarrierBytes = 256;
  static constexpr int kStages = std::min(
      12, (kBytes - kExchangeBytes - kTermBytes - kBarrierBytes) / (kStageBytes + kScaleBytes));
  static_assert(kStages >= 3);

  static constexpr int kScales = kStages * kStageBytes;
  static constexpr int kExchange = kScales + kStages * kScaleBytes;
  static constexpr int kTermsAt = kExchange + kExchangeBytes;
  static constexpr int kBarriers = kTermsAt + kTermBytes;
  static constexpr int kAllBytes = kBarriers + kBarrierBytes + 1024;

  // Barriers of eight bytes.
  static constexpr int kFull = kBarriers;
  static constexpr int kEmpty = kFull + 8 * kStages;
  static constexpr int kTermsFull = kEmpty + 8 * kStages;
  static constexpr int kTermsEmpty = kTermsFull + 8;
  static constexpr int kExchanged = kTermsEmpty + 8;
  static_assert(kExchanged + 8 * kTile.row_groups <= kBarriers + kBarrierBytes);
};

/// A position in the ring of stages.
template <int kStages>
struct Ring {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ void advance() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }

  /// By at most kStages, from the start.
  __device__ void advance(int count) {
    stage = count % kStages;
    parity = count == kStages;
  }
};

// The instances, by the index of the tile in its list.
void launch_linear_bf16(const TiledGemm&, const TileChoice&, CUstream_st*);
void launch_linear_f16(const TiledGemm&, const TileChoice&, CUstream_st*);
void launch_geglu_bf16(const TiledGemm&, const TileChoice&, CUstream_st*);
void launch_qkv_bf16(const TiledGemm&, const TileChoice&, CUstream_st*);
void launch_linear_e4m3(const TiledGemm&, const TileChoice&, CUstream_st*);
void launch_geglu_e4m3(const TiledGemm&, const TileChoice&, CUstream_st*);
void launch_qkv_e4m3(const TiledGemm&, const TileChoice&, CUstream_st*);

}  // namespace saccade::ops::detail
