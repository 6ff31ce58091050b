#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "saccade/tensor.h"

// Which part of a product one CTA computes: the choice among the tiles that gemm_sm90 is compiled
// for.
namespace saccade::ops::detail {

/// What becomes of the product x weight^T.
enum class Product : std::uint8_t {
  kLinear,
  kGeglu,  // eight gate columns, eight up columns, ...
  kQkv     // eight columns of the first half of a head, eight of the second, ...
};

/// What the two CTAs of a cluster do together.
enum class Pair : std::uint8_t {
  kNone,    // there is no cluster
  kSplitK,  // one tile: each multiplies half of k
  kShareX   // two tiles side by side: each fetches half of their rows of x for both
};

struct GemmTile {
  int row_groups;  // of 64 rows, one warpgroup each
  int columns;     // rows of weight, a multiple of 16
  Pair pair;

  constexpr int rows() const { return 64 * row_groups; }
  constexpr int cluster() const { return pair == Pair::kNone ? 1 : 2; }
  bool operator==(const GemmTile&) const = default;
};

// The compiled tiles. Each serves one of the products of a real policy, at some number of rows.
inline constexpr GemmTile kLinearBf16Tiles[] = {{2, 96, Pair::kShareX},  {2, 128, Pair::kShareX},
                                                {2, 96, Pair::kSplitK},  {2, 160, Pair::kSplitK},
                                                {2, 256, Pair::kSplitK}, {3, 96, Pair::kSplitK},
                                                {3, 128, Pair::kSplitK}};
inline constexpr GemmTile kLinearF16Tiles[] = {{2, 64, Pair::kShareX},  {2, 96, Pair::kShareX},
                                               {2, 160, Pair::kShareX}, {3, 144, Pair::kShareX},
                                               {2, 128, Pair::kNone},   {2, 96, Pair::kSplitK},
                                               {2, 128, Pair::kSplitK}};
inline constexpr GemmTile kGegluBf16Tiles[] = {{2, 256, Pair::kShareX}, {3, 192, Pair::kShareX}};
inline constexpr GemmTile kQkvBf16Tiles[] = {
    {2, 192, Pair::kShareX}, {2, 256, Pair::kSplitK}, {3, 128, Pair::kSplitK}};
// Sums of kLinear are scaled block by block, which takes as many registers again.
inline constexpr GemmTile kLinearE4m3Tiles[] = {{2, 96, Pair::kShareX},  {2, 128, Pair::kShareX},
                                                {2, 96, Pair::kSplitK},  {2, 128, Pair::kSplitK},
                                                {2, 160, Pair::kSplitK}, {3, 96, Pair::kSplitK}};
// The columns of out are one block of its scales.
inline constexpr GemmTile kGegluE4m3Tiles[] = {{2, 256, Pair::kShareX}};
inline constexpr auto kQkvE4m3Tiles = std::to_array(kQkvBf16Tiles);

std::span<const GemmTile> compiled_tiles(Product, DType);

struct TileProblem {
  Product product;
  DType dtype;  // of x and weight
  int m;
  int n;  // rows of weight
  int k;
  int most_column_tiles;  // one part of the squares for each
};

struct TileChoice {
  int index;  // in compiled_tiles()
  GemmTile tile;
  int row_tiles;
  int column_tiles;
  int units;  // of work for a cluster
  int ctas;
  int rounds;
  double clocks;  // by the model
};

/// What one tile would take on a GPU of `multiprocessors`; its index is 0. Nothing where the tile
/// cannot be used.
std::optional<TileChoice> estimate(const TileProblem&, const GemmTile&, int multiprocessors);

/// The compiled tile with the lowest estimate, the first of equals.
std::optional<TileChoice> choose_tile(const TileProblem&, int multiprocessors);

/// "192x256 shared x, 3x128 tiles on 132 CTAs in 3 rounds"
std::string describe(const TileChoice&);

}  // namespace saccade::ops::detail
