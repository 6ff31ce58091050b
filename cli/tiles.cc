#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "runtime/tile_table.h"
#include "table.h"
#include "values.h"

namespace saccade::cli {
namespace {

constexpr auto kExample = R"(Examples:
  saccade tiles --synthetic pi05 --precision fp8 --views 1,2,3 --tokens 1..200
  saccade tiles ~/pi05_base --measure --json      on a GPU: every tile beside the chosen one

Which part of a product one CTA computes is chosen by the product's shape, when it is recorded. A
round is what all multiprocessors compute at once; 3x128 tiles are 3 rows of 128. An estimate is
the model's that chooses, fitted to an H200. Products of at most 64 rows have no choice.)";

struct Arguments {
  TileTableOptions table;
  std::string views;
  std::string tokens;
  bool json = false;
};

/// "20", or "1..200"
void parse_tokens(const std::string& text, TileTableOptions& options) {
  const auto number = [&](std::string_view part) {
    return parse_whole(part, "--tokens", "a number or a range such as 1..200", text);
  };
  const auto dots = text.find("..");
  options.first_tokens = number(std::string_view(text).substr(0, dots));
  options.last_tokens = dots == std::string::npos ? options.first_tokens
                                                  : number(std::string_view(text).substr(dots + 2));
}

std::string tokens_of(const TileRow& row) {
  if (row.first_tokens == row.last_tokens) return std::to_string(row.first_tokens);
  return fmt::format("{}..{}", row.first_tokens, row.last_tokens);
}

/// What the fastest tile would save of the chosen one's time.
std::string excess(const TileRow& row) {
  const double best = row.tiles[*row.fastest].us;
  return fmt::format("{:.1f} %", 100 * (row.tiles[*row.chosen].us / best - 1));
}

void print_table(const TileTable& table, bool measured) {
  std::vector<std::string> header{"views", "tokens",    "stage", "product",    "count",
                                  "type",  "m x n x k", "tile",  "estimate us"};
  if (measured) header.insert(header.end(), {"us", "fastest", "us", "behind"});
  Table text(header);
  for (const std::size_t column : {2, 3, 5, 6, 7, 10}) text.left(column);
  for (const TileRow& row : table.rows) {
    const auto& problem = row.product.problem;
    std::vector<std::string> cells{std::to_string(row.views),
                                   tokens_of(row),
                                   row.product.stage,
                                   row.product.name,
                                   std::to_string(row.product.count),
                                   name_of(problem.dtype),
                                   fmt::format("{} x {} x {}", problem.m, problem.n, problem.k)};
    if (row.chosen) {
      const TileTime& tile = row.tiles[*row.chosen];
      cells.push_back(describe(tile.choice));
      cells.push_back(fmt::format("{:.1f}", tile.estimated_us));
    } else {
      cells.insert(cells.end(), {"none: a portable kernel", "-"});
    }
    if (measured && row.fastest && row.chosen) {
      const TileTime& best = row.tiles[*row.fastest];
      cells.insert(cells.end(),
                   {fmt::format("{:.2f}", row.tiles[*row.chosen].us), tile_name(best.choice),
                    fmt::format("{:.2f}", best.us), excess(row)});
    }
    cells.resize(header.size(), "-");
    text.add(std::move(cells));
  }
  print(text.str());
  print(fmt::format("\n{} in {}, {} multiprocessors{}\n", name_of(table.model),
                    name_of(table.precision), table.multiprocessors,
                    measured ? ", measured on " + table.gpu : ""));
}

Json to_json(const TileTime& tile) {
  const auto& choice = tile.choice;
  Json json = {{"tile", tile_name(choice)},
               {"rows", choice.tile.rows()},
               {"columns", choice.tile.columns},
               {"row_tiles", choice.row_tiles},
               {"column_tiles", choice.column_tiles},
               {"ctas", choice.ctas},
               {"rounds", choice.rounds},
               {"estimated_us", tile.estimated_us}};
  if (tile.us > 0) json["us"] = tile.us;
  return json;
}

void print_table_json(const TileTable& table) {
  Json rows = Json::array();
  for (const TileRow& row : table.rows) {
    const auto& problem = row.product.problem;
    Json json = {{"views", row.views},
                 {"tokens", {row.first_tokens, row.last_tokens}},
                 {"stage", row.product.stage},
                 {"product", row.product.name},
                 {"count", row.product.count},
                 {"type", name_of(problem.dtype)},
                 {"m", problem.m},
                 {"n", problem.n},
                 {"k", problem.k},
                 {"chosen", row.chosen ? to_json(row.tiles[*row.chosen]) : Json()}};
    if (row.fastest) json["fastest"] = to_json(row.tiles[*row.fastest]);
    json["tiles"] = Json::array();
    for (const TileTime& tile : row.tiles) json["tiles"].push_back(to_json(tile));
    rows.push_back(std::move(json));
  }
  Json json = {{"model", name_of(table.model)},
               {"precision", name_of(table.precision)},
               {"multiprocessors", table.multiprocessors}};
  if (!table.gpu.empty()) json["gpu"] = table.gpu;
  json["rows"] = std::move(rows);
  print_json(json);
}

}  // namespace

void add_tiles(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand(
      "tiles", "Says which tile every matrix product of a policy runs in on Hopper");
  const auto arguments = std::make_shared<Arguments>();
  TileTableOptions& options = arguments->table;
  command
      ->add_option_function<std::string>(
          "CKPT", [&](const std::string& path) { options.checkpoint = path; },
          "A checkpoint whose dims count; else those of --synthetic")
      ->type_name("TEXT");
  add_choice(*command, "--synthetic", {"pi0", "pi05"},
             "In place of CKPT: the published dims; pi05 if neither is given",
             [&](std::size_t i) { options.synthetic = i == 0 ? Model::kPi0 : Model::kPi05; });
  command->add_option("--views", arguments->views, "Such as 1,2,3; else one to all")
      ->type_name("NUMBERS");
  command
      ->add_option("--tokens", arguments->tokens,
                   "Of the prompt: a number or a range; else 1 to as many as the policy takes")
      ->type_name("N..M");
  command
      ->add_option("--multiprocessors", options.multiprocessors,
                   "Of the GPU; else of the one that is there, or an H200's 132")
      ->check(CLI::Range(1, 10'000))
      ->type_name("N");
  command->add_flag("--measure", options.measure, "Times every tile on the GPU, too");
  command->add_flag("--json", arguments->json, "Prints one JSON object in place of a table");
  add_load_options(*command, options.load);
  command->footer(kExample);
  command->callback([command, arguments, &status] {
    TileTableOptions& table = arguments->table;
    if (command->count("--views") > 0) table.views = parse_integers(arguments->views, "--views");
    if (command->count("--tokens") > 0) parse_tokens(arguments->tokens, table);
    table.load.progress = progress_bar();
    const TileTable result = tile_table(table);
    arguments->json ? print_table_json(result) : print_table(result, table.measure);
    status = kOk;
  });
}

}  // namespace saccade::cli
