#include "runtime/outliers.h"

#include <algorithm>
#include <array>
#include <string>

#include "core/e4m3.h"
#include "core/f16.h"
#include "core/philox.h"
#include "cuda/device.h"
#include "models/names.h"

namespace saccade {
namespace {

namespace names = models::names;

constexpr std::int64_t kChannelsPerOutlier = 512;

/// What a row or a column of a weight is a channel of. Residual streams are those of a tower.
enum class Channels : std::uint8_t { kOrdinary, kVision, kPrefix, kExpert, kHidden };

constexpr auto kNone = Channels::kOrdinary;
constexpr auto kHidden = Channels::kHidden;

/// A tensor of a tower: the channels that its rows write, and those that its columns read.
struct Rule {
  std::string_view suffix;
  Channels written;
  Channels read;
};

/// The rules of a tower whose residual stream is `stream`; the first that fits counts.
std::array<Rule, 11> tower_rules(Channels stream) {
  return {{{"q_proj.weight", kNone, stream},
           {"k_proj.weight", kNone, stream},
           {"v_proj.weight", kNone, stream},
           {"self_attn.o_proj.weight", stream, kNone},
           {"mlp.gate_proj.weight", kNone, stream},
           {"mlp.up_proj.weight", kHidden, stream},
           {"mlp.down_proj.weight", stream, kHidden},
           {"mlp.fc1.weight", kHidden, stream},
           {"mlp.fc1.bias", kHidden, kNone},
           {"mlp.fc2.weight", stream, kHidden},
           {"mlp.fc2.bias", stream, kNone}}};
}

Rule find_tower_rule(std::string_view name, Channels stream) {
  for (const Rule& rule : tower_rules(stream)) {
    if (name.ends_with(rule.suffix)) return rule;
  }
  return {name, kNone, kNone};
}

/// What surrounds the expert. Pi0 mixes the time into the actions before they are its input.
Rule find_suffix_rule(Model model, std::string_view name) {
  const auto is_of = [&](std::string_view layer) {
    return name.starts_with(layer) && name.substr(layer.size()).starts_with('.');
  };
  const bool writes = model == Model::kPi0 ? is_of("state_proj") || is_of("action_time_mlp_out")
                                           : is_of("action_in_proj");
  if (writes) return {name, Channels::kExpert, kNone};
  if (name == "action_out_proj.weight") return {name, kNone, Channels::kExpert};
  return {name, kNone, kNone};
}

Rule find_rule(Model model, std::string_view name) {
  if (name.starts_with(names::kVision)) {
    const bool writes = name.find("embeddings.patch_embedding.") != name.npos ||
                        name.find("self_attn.out_proj.") != name.npos;
    if (writes) return {name, Channels::kVision, kNone};
    return find_tower_rule(name, Channels::kVision);
  }
  if (name == names::kProjector + "weight") return {name, Channels::kPrefix, Channels::kVision};
  if (name == names::kProjector + "bias") return {name, Channels::kPrefix, kNone};
  if (name.starts_with(names::kPrefix)) return find_tower_rule(name, Channels::kPrefix);
  if (name.starts_with(names::kExpert)) return find_tower_rule(name, Channels::kExpert);
  return find_suffix_rule(model, name);
}

/// The residual stream that a table of embeddings, a row each, writes.
Channels embedded(std::string_view name) {
  if (name == names::kEmbedding || name == names::kPaligemma + "lm_head.weight") {
    return Channels::kPrefix;
  }
  if (name == names::kVision + "embeddings.position_embedding.weight") return Channels::kVision;
  return kNone;
}

/// One of each part of so many channels.
std::vector<std::int64_t> outliers(Channels channels, std::int64_t size, std::uint64_t seed) {
  if (channels == kNone) return {};
  const std::int64_t count = std::max<std::int64_t>(1, size / kChannelsPerOutlier);
  const std::int64_t part = size / count;
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto random = philox4x32({std::uint32_t(i), std::uint32_t(channels), 0, 0},
                                   {std::uint32_t(seed), std::uint32_t(seed >> 32)});
    chosen.push_back(i * part + std::int64_t(random[0] % std::uint64_t(part)));
  }
  return chosen;
}

/// Scales rows of a packed tensor that are `first_row` and following ones of a whole one.
template <typename T>
void apply(const OutlierScaling& scaling, const Tensor& rows, int first_row) {
  const std::int64_t row_size = rows.shape.size() / rows.shape[0];
  scaling.apply(row_size, first_row * row_size,
                std::span(rows.as<T>(), std::size_t(rows.shape.size())));
}

void apply(const OutlierScaling& scaling, const Tensor& rows, int first_row) {
  switch (rows.dtype) {
    case DType::kBf16:
      return apply<bf16>(scaling, rows, first_row);
    case DType::kF16:
      return apply<f16>(scaling, rows, first_row);
    case DType::kE4m3:
      return apply<e4m3>(scaling, rows, first_row);
    default:
      return apply<float>(scaling, rows, first_row);
  }
}

/// Goes through a tensor in blocks that the host has room for.
void apply_in_blocks(const OutlierScaling& scaling, const Tensor& target, const Stream& stream) {
  constexpr std::int64_t kBlockElements = std::int64_t{1} << 25;
  if (stream.device == Device::kCpu) return apply(scaling, target, 0);
  const std::int64_t row_size = target.shape.size() / target.shape[0];
  const int most_rows = int(std::max<std::int64_t>(1, kBlockElements / row_size));
  std::vector<std::byte> host;
  for (int row = 0; row < target.shape[0]; row += most_rows) {
    const Tensor rows = target.rows(row, std::min(most_rows, target.shape[0] - row));
    host.resize(rows.bytes());
    cuda::download(stream, rows.data, host.data(), host.size());
    apply(scaling, {host.data(), rows.shape, rows.dtype, Device::kCpu}, row);
    cuda::upload(stream, host.data(), rows.data, host.size());
  }
}

}  // namespace

OutlierScaling outlier_scaling(Model model, std::string_view name,
                               std::span<const std::int64_t> extents, std::uint64_t seed) {
  const Rule rule = find_rule(model, name);
  OutlierScaling scaling{.rows = outliers(rule.written, extents[0], seed),
                         .row_factor = kOutlierGain,
                         .column_factor = kOutlierReadGain};
  if (extents.size() != 2) return scaling;
  const Channels table = embedded(name);
  scaling.columns = outliers(table == kNone ? rule.read : table, extents[1], seed);
  if (table != kNone) scaling.column_factor = kOutlierGain;
  return scaling;
}

void add_outliers(Model model, const models::WeightList& list, const Stream& stream) {
  for (const models::WeightSlot& slot : list.slots) {
    int end = 0;
    for (const models::WeightPiece& piece : slot.pieces) {
      std::vector<std::int64_t> extents;
      for (int axis = 0; axis < piece.shape.rank(); ++axis) extents.push_back(piece.shape[axis]);
      OutlierScaling scaling = outlier_scaling(model, piece.name, extents, 0);
      const int begin = end;
      end += piece.shape[0];
      if (!scaling) continue;
      if (slot.type == models::WeightType::kScaled) {
        const Tensor scales = slot.scales->reshaped({slot.shape()[0], 1});
        apply_in_blocks({.rows = std::move(scaling.rows), .row_factor = scaling.row_factor},
                        scales.rows(begin, end - begin), stream);
        scaling.rows.clear();
      }
      apply_in_blocks(scaling, slot.target->rows(begin, end - begin), stream);
    }
  }
}

}  // namespace saccade
