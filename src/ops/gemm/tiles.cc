#include "ops/gemm/tiles.h"

#include <algorithm>
#include <sstream>

namespace saccade::ops::detail {
namespace {

// An H200, per clock of 1/1600 us, fitted to the times in tests/ops/tiles_test.cc. A block is what
// a stage of shared memory holds of k.
constexpr double kRowBytes = 128;
constexpr double kTensorColumns = 0.5;  // of 64 rows and a block
constexpr double kSharedBytes = 151;    // of one multiprocessor, reads and writes
constexpr double kL2Bytes = 6740;       // of the whole GPU

// What a block of e4m3 costs more where its products are scaled before they are added up.
constexpr double kScaledBlock = 300;

// What a block costs more where the halves of a split sum that have fewer rows than the others
// leave the GPU idle.
constexpr double kUneven = 1.02;

// What no tile avoids, and what 64 rows of a column of results take: to be stored, and to be
// exchanged before that.
constexpr double kStart = 3070;
constexpr double kFinishColumn = 13.8;
constexpr double kExchangeColumn = 5.1;

int divide_up(int a, int b) { return (a + b - 1) / b; }

/// Of one block of k: the slowest of multiplying, shared memory and L2.
double block_clocks(const TileProblem& problem, const GemmTile& tile, int ctas, bool uneven) {
  const double operands = tile.rows() + tile.columns;
  const double multiplied = tile.row_groups * (64.0 + tile.columns);
  const double fetched = tile.pair == Pair::kShareX ? operands - tile.rows() / 2.0 : operands;
  const bool scaled = problem.dtype == DType::kE4m3 && problem.product == Product::kLinear;
  const double products = tile.row_groups * tile.columns / kTensorColumns;
  const double slowest = std::max({products + (scaled ? kScaledBlock : 0),
                                   (multiplied + operands) * kRowBytes / kSharedBytes,
                                   fetched * kRowBytes * ctas / kL2Bytes});
  return uneven ? kUneven * slowest : slowest;
}

const char* name_of(Pair pair) {
  switch (pair) {
    case Pair::kSplitK:
      return " split k";
    case Pair::kShareX:
      return " shared x";
    case Pair::kNone:
      break;
  }
  return "";
}

}  // namespace

std::span<const GemmTile> compiled_tiles(Product product, DType dtype) {
  if (dtype == DType::kBf16) {
    if (product == Product::kGeglu) return kGegluBf16Tiles;
    if (product == Product::kQkv) return kQkvBf16Tiles;
    return kLinearBf16Tiles;
  }
  if (dtype == DType::kE4m3) {
    if (product == Product::kGeglu) return kGegluE4m3Tiles;
    if (product == Product::kQkv) return kQkvE4m3Tiles;
    return kLinearE4m3Tiles;
  }
  if (dtype == DType::kF16 && product == Product::kLinear) return kLinearF16Tiles;
  return {};
}

std::optional<TileChoice> estimate(const TileProblem& problem, const GemmTile& tile,
                                   int multiprocessors) {
  const bool split = tile.pair == Pair::kSplitK;
  const int row_tiles = divide_up(problem.m, tile.rows());
  const int column_tiles = divide_up(problem.n, tile.columns);
  int blocks = divide_up(problem.k, int(kRowBytes) / int(size_of(problem.dtype)));
  if (column_tiles > problem.most_column_tiles || (split && blocks < 2)) return {};
  if (split) blocks = divide_up(blocks, 2);

  // Tiles that share x come in pairs. Halves of a sum meet once, so that they all run: no CTA
  // computes a second tile.
  const int tiles_a_unit = tile.pair == Pair::kShareX ? 2 : 1;
  const int units = row_tiles * divide_up(column_tiles, tiles_a_unit);
  const int room = std::max(1, multiprocessors / tile.cluster());
  const int at_once = std::min(units, room);
  const int rounds = divide_up(units, room);
  const bool uneven = split && problem.m % tile.rows() != 0;
  const double finish = kFinishColumn + (split ? kExchangeColumn : 0);
  const double each = blocks * block_clocks(problem, tile, at_once * tile.cluster(), uneven) +
                      finish * tile.row_groups * tile.columns;
  return TileChoice{.index = 0,
                    .tile = tile,
                    .row_tiles = row_tiles,
                    .column_tiles = column_tiles,
                    .units = units,
                    .ctas = tile.cluster() * (split ? units : at_once),
                    .rounds = rounds,
                    .clocks = kStart + rounds * each};
}

std::optional<TileChoice> choose_tile(const TileProblem& problem, int multiprocessors) {
  std::optional<TileChoice> best;
  int index = 0;
  for (const GemmTile& tile : compiled_tiles(problem.product, problem.dtype)) {
    auto choice = estimate(problem, tile, multiprocessors);
    if (choice && (!best || choice->clocks < best->clocks)) {
      best = choice;
      best->index = index;
    }
    ++index;
  }
  return best;
}

std::string describe(const TileChoice& choice) {
  std::ostringstream out;
  out << choice.tile.rows() << 'x' << choice.tile.columns << name_of(choice.tile.pair) << ", "
      << choice.row_tiles << 'x' << choice.column_tiles << " tiles on " << choice.ctas
      << " CTAs in " << choice.rounds << (choice.rounds == 1 ? " round" : " rounds");
  return out.str();
}

}  // namespace saccade::ops::detail
