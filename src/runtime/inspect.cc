#include "runtime/inspect.h"

#include <sstream>

#include "io/orbax/crc32c.h"
#include "models/names.h"
#include "models/pi.h"
#include "runtime/engine.h"
#include "runtime/weight_loader.h"

namespace saccade {
namespace {

namespace names = models::names;

const char* stage_of(const std::string& name) {
  if (name.starts_with(names::kVision)) return "vision";
  if (name.starts_with(names::kProjector)) return "projector";
  if (name == names::kEmbedding) return "embedding";
  if (name.starts_with(names::kPrefix)) return "prefix";
  if (name.starts_with(names::kExpert)) return "expert";
  return "suffix";
}

std::string text_of(const models::SiglipDims& d) {
  std::ostringstream text;
  text << d.layers << " x " << d.width << ", mlp " << d.mlp << ", " << d.heads << " heads x "
       << d.head_dim() << ", " << d.tokens() << " tokens of " << d.patch << " x " << d.patch;
  return text.str();
}

std::string text_of(const models::GemmaDims& d) {
  std::ostringstream text;
  text << d.layers << " x " << d.width << ", mlp " << d.mlp << ", " << d.heads << " heads / "
       << d.kv_heads << " kv x " << d.head_dim;
  return text.str();
}

std::vector<StageSize> empty_stages(const models::PiDims& d) {
  const auto size = [](int rows, int columns) {
    return std::to_string(rows) + " -> " + std::to_string(columns);
  };
  return {{"vision", 0, 0, text_of(d.vision)},
          {"projector", 0, 0, size(d.vision.width, d.prefix.width)},
          {"embedding", 0, 0, size(d.vocabulary, d.prefix.width)},
          {"prefix", 0, 0, text_of(d.prefix)},
          {"expert", 0, 0, text_of(d.expert)},
          {"suffix", 0, 0, size(d.max_action_dim, d.expert.width)},
          {"unused", 0, 0, ""}};
}

void append(std::vector<std::string>& problems, const std::vector<std::string>& names,
            const char* what) {
  for (const std::string& name : names) problems.push_back(name + what);
}

}  // namespace

InspectReport inspect(const std::filesystem::path& checkpoint, const LoadOptions& options) {
  InspectReport report;
  report.files = io::find_checkpoint(checkpoint);
  report.config = io::read_policy_config(report.files, options);
  const Blueprint blueprint = make_blueprint(report.files, report.config);
  report.model = blueprint.model;
  report.image_size = blueprint.dims.vision.image_size;
  io::set_openpi_normalization(report.config, report.model);
  report.config.warnings.insert(report.config.warnings.end(), blueprint.warnings.begin(),
                                blueprint.warnings.end());
  const WeightReport weights =
      compare_weights(*blueprint.source, blueprint.weights, blueprint.is_unused);
  report.unused = weights.unused;
  append(report.problems, weights.missing, " is missing");
  append(report.problems, weights.misshaped, "");
  append(report.problems, weights.unexpected, " is not known to the model");

  report.stages = empty_stages(blueprint.dims);
  for (const auto& [name, info] : blueprint.source->tensors()) {
    const std::string stage = blueprint.is_unused(name) ? "unused" : stage_of(name);
    for (StageSize& size : report.stages) {
      if (size.stage != stage) continue;
      size.parameters += std::uint64_t(info.size());
      size.bytes += info.bytes();
    }
  }
  return report;
}

std::vector<std::pair<std::string, std::uint32_t>> weight_digest(
    const std::filesystem::path& checkpoint, const LoadOptions& options) {
  const io::CheckpointFiles files = io::find_checkpoint(checkpoint);
  const io::PolicyConfig config = io::read_policy_config(files, options);
  EngineOptions engine_options;
  engine_options.precision = precision_on(*engine_options.stream, options);
  engine_options.max_views = 1;
  const Blueprint blueprint = make_blueprint(files, config, engine_options);
  const std::string name = files.weights.string();
  require_weights(*blueprint.source, blueprint.weights, blueprint.is_unused, name,
                  name_of(blueprint.model));
  const auto place = [&](Arena& arena) {
    place_weights(blueprint.source.get(), blueprint.weights, weight_types(engine_options), arena,
                  arena);
  };
  Arena size = Arena::measuring();
  place(size);
  Arena weights(size.used_bytes());
  place(weights);
  read_weights(*blueprint.source, blueprint.weights, Stream{}, name, options.progress);
  std::vector<std::pair<std::string, std::uint32_t>> digest;
  const auto add = [&](const std::string& buffer_name, const Tensor& buffer) {
    const std::span bytes(buffer.as<const std::byte>(), buffer.bytes());
    digest.emplace_back(buffer_name, io::orbax::crc32c(bytes));
  };
  for (const models::WeightSlot& slot : blueprint.weights.slots) {
    add(slot.pieces[0].name, *slot.target);
    if (slot.scales) add(slot.pieces[0].name + " scales", *slot.scales);
  }
  return digest;
}

}  // namespace saccade
