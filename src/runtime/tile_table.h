#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/dims.h"
#include "ops/gemm/tiles.h"
#include "saccade/ops/gemm.h"
#include "saccade/policy.h"

// The tiles that a policy's products run in on Hopper, which ops/gemm/tiles.h chooses by the shape
// alone.
namespace saccade {

/// A product of a policy whose kernel has a choice of tiles, and what that kernel does behind it.
struct TiledProduct {
  std::string stage = {};  // "vision", "prefix" or "expert"
  std::string name = {};   // "gate_up"
  ops::detail::TileProblem problem = {};
  int count = 1;  // of a pass
  models::GemmaDims tower =
      {};  // of a kQkv, whose heads are rotated; one of the keys has no queries
  ops::Activation activation = ops::Activation::kNone;
  bool bias = false;
  bool norm = false;      // divides by the rms of the rows of x
  bool residual = false;  // adds to an f32 stream
  bool next = false;      // stores what the next norm needs
};

/// What decides the shapes of a policy's products.
struct TiledPass {
  int views = 0;
  int prefix_rows = 0;
  int expert_rows = 0;
};

/// The products of an inference, without those of at most 64 rows outside of vision: they have
/// kernels with one tile.
std::vector<TiledProduct> tiled_products(const models::PiDims&, const Precisions&,
                                         const TiledPass&);

/// A compiled tile that a product can use.
struct TileTime {
  ops::detail::TileChoice choice;
  double estimated_us = 0;
  double us = 0;  // measured; 0: not
};

/// A product for so many views and prompt tokens.
struct TileRow {
  int views = 0;
  int first_tokens = 0;
  int last_tokens = 0;
  TiledProduct product;
  std::vector<TileTime> tiles;
  std::optional<std::size_t> chosen;   // of tiles; nothing where a portable kernel runs
  std::optional<std::size_t> fastest;  // once all are measured
};

struct TileTableOptions {
  std::filesystem::path checkpoint;
  std::optional<Model> synthetic;  // in place of a checkpoint: the published dims; else Pi0.5's
  LoadOptions load;
  std::vector<int> views;              // else from one to all that the policy sees
  int first_tokens = 1;                // of the prompt
  std::optional<int> last_tokens;      // else as many as the policy takes
  std::optional<int> multiprocessors;  // else the GPU's, or an H200's 132
  bool measure = false;
};

struct TileTable {
  Model model = Model::kPi05;
  Precisions precision;
  int multiprocessors = 0;
  std::string gpu;  // that measured
  std::vector<TileRow> rows;
};

/// The choice for every product. No weights are read; only measuring needs a GPU.
TileTable tile_table(const TileTableOptions&);

/// "192x256 shared x"
std::string tile_name(const ops::detail::TileChoice&);

}  // namespace saccade
