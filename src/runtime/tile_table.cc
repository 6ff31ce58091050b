#include "runtime/tile_table.h"

#include <algorithm>
#include <climits>

#include "core/check.h"
#include "cuda/device.h"
#include "runtime/loaded_policy.h"
#include "runtime/tile_timer.h"

namespace saccade {
namespace {

using ops::Activation;
using ops::detail::Product;
using ops::detail::TileProblem;

constexpr auto kWhere = "tiles";
constexpr int kMultiprocessors = 132;
constexpr int kHopper = 90;
constexpr double kClocksPerUs = 1600;  // of estimates
constexpr int kFewRows = 64;           // beyond them products have a choice of tiles

// As models::Gemma allots them: one part of the squares for so many columns of the residual stream.
constexpr int kColumnsPerPart = 32;

int parts(int width) { return (width + kColumnsPerPart - 1) / kColumnsPerPart; }

TileProblem linear(DType type, int m, int n, int k, int most_column_tiles = INT_MAX) {
  return {Product::kLinear, type, m, n, k, most_column_tiles};
}

/// `next`: the prefix wants the norm of its input from whoever stores it.
void add_vision(const models::PiDims& dims, int views, bool next,
                std::vector<TiledProduct>& products) {
  constexpr auto kF16 = DType::kF16;
  constexpr int kVector = 8;  // elements to which rows of patches are padded
  const models::SiglipDims& d = dims.vision;
  const int m = views * d.tokens();
  const int patch = (3 * d.patch * d.patch + kVector - 1) / kVector * kVector;
  const int prefix = dims.prefix.width;
  const auto add = [&](TiledProduct product) {
    product.stage = "vision";
    product.bias = true;
    products.push_back(std::move(product));
  };
  add({.name = "patches", .problem = linear(kF16, m, d.width, patch), .residual = true});
  add({.name = "qkv", .problem = linear(kF16, m, 3 * d.width, d.width), .count = d.layers});
  add({.name = "out",
       .problem = linear(kF16, m, d.width, d.width),
       .count = d.layers,
       .residual = true});
  add({.name = "fc1",
       .problem = linear(kF16, m, d.mlp, d.width),
       .count = d.layers,
       .activation = Activation::kGelu});
  add({.name = "fc2",
       .problem = linear(kF16, m, d.width, d.mlp),
       .count = d.layers,
       .residual = true});
  add({.name = "projector",
       .problem = linear(kF16, m, prefix, d.width, next ? parts(prefix) : INT_MAX),
       .next = next});
}

/// A tower whose operands are of a type, e4m3 with scales or bf16. `stops`: the last layer computes
/// keys and values alone.
void add_gemma(const char* stage, const models::GemmaDims& d, DType type, int m, bool stops,
               std::vector<TiledProduct>& products) {
  if (m <= kFewRows) return;
  const bool folded = type != DType::kE4m3;  // norms into the products around them
  const int most_tiles = folded ? parts(d.width) : INT_MAX;
  const int layers = d.layers - (stops ? 1 : 0);
  const int keys = 2 * d.kv_heads * d.head_dim;
  const auto add = [&](TiledProduct product) {
    product.stage = stage;
    product.tower = d;
    if (product.count > 0) products.push_back(std::move(product));
  };
  add({.name = "qkv",
       .problem = {Product::kQkv, type, m, d.qkv(), d.width, INT_MAX},
       .count = layers,
       .norm = folded});
  if (stops) {
    add({.name = "keys",
         .problem = {Product::kQkv, type, m, keys, d.width, INT_MAX},
         .norm = folded});
  }
  add({.name = "out",
       .problem = linear(type, m, d.width, d.heads * d.head_dim, most_tiles),
       .count = layers,
       .residual = true,
       .next = folded});
  add({.name = "gate_up",
       .problem = {Product::kGeglu, type, m, 2 * d.mlp, d.width, INT_MAX},
       .count = layers,
       .activation = Activation::kGeglu,
       .norm = folded});
  add({.name = "down",
       .problem = linear(type, m, d.width, d.mlp, most_tiles),
       .count = layers,
       .residual = true,
       .next = folded});
}

TileRow make_row(const TiledProduct& product, int multiprocessors) {
  TileRow row;
  row.product = product;
  const auto chosen = ops::detail::choose_tile(product.problem, multiprocessors);
  int index = 0;
  for (const auto& tile : compiled_tiles(product.problem.product, product.problem.dtype)) {
    auto choice = ops::detail::estimate(product.problem, tile, multiprocessors);
    if (choice) {
      choice->index = index;
      if (chosen && chosen->index == index) row.chosen = row.tiles.size();
      row.tiles.push_back({*choice, choice->clocks / kClocksPerUs});
    }
    ++index;
  }
  return row;
}

void measure(const Stream& stream, TileRow& row) {
  if (row.tiles.empty()) return;
  const TileTimer timer(stream, row.product);
  for (TileTime& tile : row.tiles) tile.us = timer.us(tile.choice);
  const auto fastest = std::ranges::min_element(row.tiles, {}, &TileTime::us);
  row.fastest = std::size_t(fastest - row.tiles.begin());
}

PolicyPlan plan(const TileTableOptions& options) {
  SACCADE_CHECK(!options.synthetic || options.checkpoint.empty(), kWhere,
                "either a checkpoint or a synthetic policy has products, got both");
  if (!options.checkpoint.empty()) return plan_policy(options.checkpoint, options.load);
  constexpr int kViews = 3;
  return plan_synthetic_policy(options.synthetic.value_or(Model::kPi05), kViews, options.load);
}

/// The views that are asked for, or one to all.
std::vector<int> views_of(const TileTableOptions& options, const PolicyPlan& plan) {
  const int cameras = int(plan.config.cameras.size());
  std::vector<int> views = options.views;
  for (const int count : views) {
    SACCADE_CHECK(count >= 1 && count <= cameras, kWhere, "the policy sees 1 to ", cameras,
                  " views, ", count, " are asked for");
  }
  for (int count = 1; options.views.empty() && count <= cameras; ++count) views.push_back(count);
  return views;
}

/// Collects the rows of a table.
class Rows {
 public:
  Rows(const models::PiDims& dims, const Precisions& precision, int expert_rows,
       int multiprocessors)
      : dims_(dims),
        precision_(precision),
        expert_rows_(expert_rows),
        multiprocessors_(multiprocessors) {}

  /// A row for every product and number of prefix rows that prompts of so many tokens have.
  void add(int views, int first_tokens, int last_tokens) {
    const auto rows = [&](int tokens) {
      return (views * dims_.vision.tokens() + tokens + kPrefixRowStep - 1) / kPrefixRowStep *
             kPrefixRowStep;
    };
    for (int tokens = first_tokens; tokens <= last_tokens; ++tokens) {
      const int first = tokens;
      while (tokens < last_tokens && rows(tokens + 1) == rows(first)) ++tokens;
      const TiledPass pass{views, rows(first), expert_rows_};
      for (const TiledProduct& product : tiled_products(dims_, precision_, pass)) {
        const bool is_prefix = product.stage == "prefix";
        if (!is_prefix && first != first_tokens) continue;
        add(product, views, first, is_prefix ? tokens : last_tokens);
      }
    }
  }

  std::vector<TileRow> take() { return std::move(rows_); }

 private:
  void add(const TiledProduct& product, int views, int first_tokens, int last_tokens) {
    TileRow row = make_row(product, multiprocessors_);
    row.views = views;
    row.first_tokens = first_tokens;
    row.last_tokens = last_tokens;
    rows_.push_back(std::move(row));
  }

  const models::PiDims& dims_;
  Precisions precision_;
  int expert_rows_;
  int multiprocessors_;
  std::vector<TileRow> rows_;
};

}  // namespace

std::vector<TiledProduct> tiled_products(const models::PiDims& dims, const Precisions& precision,
                                         const TiledPass& pass) {
  const bool scaled_prefix = precision.prefix == Precision::kFp8;
  std::vector<TiledProduct> products;
  add_vision(dims, pass.views, !scaled_prefix, products);
  add_gemma("prefix", dims.prefix, scaled_prefix ? DType::kE4m3 : DType::kBf16, pass.prefix_rows,
            true, products);
  // An expert in fp8 has weights of one type and activations of another, which is not for tiles.
  if (precision.expert == Precision::kBf16) {
    add_gemma("expert", dims.expert, DType::kBf16, pass.expert_rows, false, products);
  }
  return products;
}

std::string tile_name(const ops::detail::TileChoice& choice) {
  const std::string whole = describe(choice);
  return whole.substr(0, whole.find(','));
}

TileTable tile_table(const TileTableOptions& options) {
  SACCADE_CHECK(!options.load.auto_precision, kWhere,
                "precision auto is decided by measuring inferences; give the one that counts");
  const PolicyPlan of = plan(options);
  TileTable table;
  table.model = of.blueprint.model;
  table.precision = options.load.precision.value_or(Precision::kBf16);
  SACCADE_CHECK(table.precision.prefix != Precision::kF32, kWhere,
                "only products in bf16 and fp8 have tiles, f32 is asked for");
  const int most_tokens = max_prompt_tokens(of.config, of.blueprint.model);
  const int last_tokens = options.last_tokens.value_or(most_tokens);
  SACCADE_CHECK(options.first_tokens >= 0 && options.first_tokens <= last_tokens &&
                    last_tokens <= most_tokens,
                kWhere, "the policy takes 0 to ", most_tokens, " prompt tokens, ",
                options.first_tokens, " to ", last_tokens, " are asked for");
  const std::vector<int> views = views_of(options, of);

  const Stream& stream = *of.options.stream;
  const bool on_gpu = stream.device == Device::kCuda;
  SACCADE_CHECK(!options.measure || (on_gpu && stream.arch >= kHopper), kWhere,
                "tiles are only measured on a GPU of compute capability 9.0");
  const int present = on_gpu ? cuda::device_info().multiprocessors : kMultiprocessors;
  SACCADE_CHECK(!options.measure || options.multiprocessors.value_or(present) == present, kWhere,
                "the GPU that measures has ", present, " multiprocessors, not ",
                options.multiprocessors.value_or(present));
  table.multiprocessors = options.multiprocessors.value_or(present);

  const int leading = of.blueprint.model == Model::kPi0 ? 1 : 0;  // the state's row
  Rows rows(of.blueprint.dims, table.precision, leading + of.config.chunk, table.multiprocessors);
  for (const int count : views) rows.add(count, options.first_tokens, last_tokens);
  table.rows = rows.take();
  if (!options.measure) return table;

  table.gpu = cuda::device_info().name;
  std::uint64_t done = 0;
  for (TileRow& row : table.rows) {
    if (options.load.progress) options.load.progress("measuring tiles", done++, table.rows.size());
    measure(stream, row);
  }
  return table;
}

}  // namespace saccade
