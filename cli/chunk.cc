#include "chunk.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "output.h"
#include "runtime/policy_json.h"
#include "table.h"

namespace saccade::cli {

std::vector<std::string> column_names(const PolicyInfo& info, const ActionChunk& chunk) {
  const auto columns = static_cast<std::size_t>(chunk.action_dim);
  if (info.action_names.size() == columns) return info.action_names;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < columns; ++i) names.push_back(std::to_string(i));
  return names;
}

void print_chunk(const PolicyInfo& info, const ActionChunk& chunk,
                 const std::vector<std::string>& names) {
  print(fmt::format("{}, {} preprocessing, {} on {}, {} steps, {} prompt tokens\n\n",
                    name_of(info.model), name_of(info.mode), name_of(info.precision),
                    name_of(info.device), info.steps, chunk.tokens.size()));
  std::vector<std::string> header{"action"};
  header.insert(header.end(), names.begin(), names.end());
  Table actions(std::move(header));
  const float* value = chunk.values.data();
  for (int row = 0; row < chunk.actions; ++row) {
    std::vector<std::string> cells{std::to_string(row)};
    for (int i = 0; i < chunk.action_dim; ++i) cells.push_back(fmt::format("{:.4f}", *value++));
    actions.add(std::move(cells));
  }
  Table times({"stage", "ms"});
  for (const StageTime& time : chunk.times) {
    times.add({time.stage, fmt::format("{:.1f}", time.ms)});
  }
  print(actions.str(terminal_width()) + "\n" + times.str());
}

void print_chunk_json(const PolicyInfo& info, const ActionChunk& chunk,
                      const std::vector<std::string>& names, std::uint64_t seed) {
  Json rows = Json::array();
  const float* value = chunk.values.data();
  for (int row = 0; row < chunk.actions; ++row, value += chunk.action_dim) {
    rows.push_back(std::vector<float>(value, value + chunk.action_dim));
  }
  Json times = Json::array();
  for (const StageTime& time : chunk.times) {
    times.push_back({{"stage", time.stage}, {"ms", time.ms}});
  }
  print_json({{"policy", to_json(info)},
              {"seed", seed},
              {"names", names},
              {"actions", rows},
              {"tokens", chunk.tokens},
              {"times", times},
              {"warnings", chunk.warnings}});
}

}  // namespace saccade::cli
