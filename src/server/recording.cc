#include "server/recording.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/check.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "runtime/policy_json.h"

namespace saccade::server {
namespace {

namespace fs = std::filesystem;
using io::Fields;
using io::Json;

constexpr auto kFormat = "saccade recording";
constexpr int kVersion = 1;
constexpr int kMost = 1'000'000;  // of --steps and its like

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

void put(Json& json, const char* name, const std::optional<int>& value) {
  if (value) json[name] = *value;
}

void put(Json& json, const char* name, const fs::path& value) {
  if (!value.empty()) json[name] = fs::absolute(value).lexically_normal().string();
}

Json to_json(const LoadOptions& load, const PolicyInfo& info) {
  Json json = {{"device", name_of(info.device)}, {"precision", name_of(info.precision)}};
  if (load.model) json["model"] = name_of(*load.model);
  if (load.mode) json["mode"] = name_of(*load.mode);
  put(json, "steps", load.steps);
  put(json, "chunk", load.chunk);
  put(json, "max_prompt_tokens", load.max_prompt_tokens);
  put(json, "vision_heads", load.vision_heads);
  if (!load.openpi_config.empty()) json["openpi_config"] = load.openpi_config;
  put(json, "statistics", load.statistics);
  put(json, "tokenizer", load.tokenizer);
  return json;
}

/// The value of a field that is one word of two, or nothing where it is absent.
template <typename Enum>
std::optional<Enum> word(const Fields& fields, const std::string& name, std::array<Enum, 2> words) {
  const std::optional<std::string> text = fields.text(name);
  if (!text) return std::nullopt;
  for (const Enum value : words) {
    if (*text == name_of(value)) return value;
  }
  fields.fail(name, std::string("\"") + name_of(words[0]) + "\" or \"" + name_of(words[1]) + '"');
}

std::optional<int> count(const Fields& fields, const std::string& name) {
  const auto value = fields.integer(name, 1, kMost);
  return value ? std::optional<int>(int(*value)) : std::nullopt;
}

std::string require_text(const Fields& fields, const std::string& name) {
  const std::optional<std::string> text = fields.text(name);
  if (!text) fields.fail(name, "a text");
  return *text;
}

RecordedPolicy parse_header(const Fields& header) {
  SACCADE_CHECK(header.text("format") == kFormat, header.where(),
                "is not the index of a recording");
  if (header.integer("version", 0, kMost) != kVersion) header.fail("version", "1");
  RecordedPolicy policy;
  policy.checkpoint = require_text(header, "checkpoint");
  const std::optional<Fields> load = header.object("load");
  if (!load) header.fail("load", "an object");
  LoadOptions& options = policy.load;
  options.model = word(*load, "model", std::array{Model::kPi0, Model::kPi05});
  options.mode = word(*load, "mode", std::array{Mode::kOpenpi, Mode::kLerobot});
  options.device = word(*load, "device", std::array{Device::kCpu, Device::kCuda});
  if (const auto precision = load->text("precision")) set_precision(*precision, options);
  options.steps = count(*load, "steps");
  options.chunk = count(*load, "chunk");
  options.max_prompt_tokens = count(*load, "max_prompt_tokens");
  options.vision_heads = count(*load, "vision_heads");
  options.openpi_config = load->text("openpi_config").value_or("");
  options.statistics = load->text("statistics").value_or("");
  options.tokenizer = load->text("tokenizer").value_or("");
  return policy;
}

std::uint64_t unsigned_number(const Fields& fields, const std::string& name) {
  const Json* value = fields.find(name);
  if (value == nullptr) return 0;
  if (!value->is_number_unsigned()) fields.fail(name, "a whole number from 0 to 2^64 - 1");
  return value->get<std::uint64_t>();
}

RecordedRequest parse_request(const Fields& fields) {
  RecordedRequest request;
  request.file = fields.text("file").value_or("");
  if (!request.file.empty() && !io::is_plain_file_name(request.file)) {
    fields.fail("file", "the name of a file beside the index");
  }
  request.time = fields.text("time").value_or("");
  request.error = fields.text("error").value_or("");
  if (request.file.empty() && request.error.empty()) fields.fail("file", "there without an error");
  request.connection = unsigned_number(fields, "connection");
  request.seed = unsigned_number(fields, "seed");
  request.queue_ms = fields.number("queue_ms").value_or(0);
  request.policy_ms = fields.number("policy_ms").value_or(0);
  request.total_ms = fields.number("total_ms").value_or(0);
  return request;
}

/// A tensor F32 [rows, columns].
struct Matrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<float> values;
};

Matrix read_matrix(const io::SafetensorsFile& file, const char* name) {
  const io::SafetensorsEntry& entry = file.entry(name);
  const auto& extents = entry.info.extents;
  SACCADE_CHECK(entry.info.dtype == io::FileDType::kF32 && extents.size() == 2,
                file.path().string(), io::quote(name), " must be F32 [rows, action dim], it is ",
                io::name_of(entry.info.dtype), " ", entry.info.shape());
  const std::span<const std::byte> bytes = file.bytes(entry);
  const auto* values = reinterpret_cast<const float*>(bytes.data());
  return {extents[0], extents[1], {values, values + bytes.size() / sizeof(float)}};
}

/// A number of a safetensors file's metadata, which holds texts alone.
template <typename T>
T metadata_number(const io::SafetensorsFile& file, const std::string& name) {
  const auto found = file.metadata().find(name);
  const std::string text = found == file.metadata().end() ? "" : found->second;
  const Json value = Json::parse(text, nullptr, false);
  const bool fits = std::is_same_v<T, int> ? value.is_number_integer() : value.is_number();
  SACCADE_CHECK(fits && std::abs(value.get<double>()) <= kMost, file.path().string(),
                "the metadata ", io::quote(name), " must be a number, it is ", io::quote(text));
  return value.get<T>();
}

RealTime read_realtime(const io::SafetensorsFile& file) {
  Matrix previous = read_matrix(file, kPreviousName);
  SACCADE_CHECK(previous.rows <= kMost, file.path().string(), io::quote(kPreviousName),
                " has too many rows");
  RealTime realtime;
  realtime.previous = std::move(previous.values);
  realtime.rows = int(previous.rows);
  realtime.inference_delay = metadata_number<int>(file, "inference_delay");
  realtime.execution_horizon = metadata_number<int>(file, "execution_horizon");
  realtime.max_weight = metadata_number<double>(file, "max_guidance_weight");
  const auto schedule = file.metadata().find("schedule");
  realtime.schedule = parse_schedule(schedule == file.metadata().end() ? "" : schedule->second);
  return realtime;
}

std::map<std::string, std::string> realtime_metadata(const RealTime& realtime) {
  return {{"inference_delay", Json(realtime.inference_delay).dump()},
          {"execution_horizon", Json(realtime.execution_horizon).dump()},
          {"max_guidance_weight", Json(realtime.max_weight).dump()},
          {"schedule", name_of(realtime.schedule)}};
}

template <typename T>
std::span<const std::byte> as_bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

/// What the file of a request holds.
struct Contents {
  std::map<std::string, std::string> metadata;
  std::vector<io::WeightInfo> tensors;
  std::map<std::string, std::span<const std::byte>> bytes;

  void add(const std::string& name, io::FileDType dtype, std::vector<std::int64_t> extents,
           std::span<const std::byte> data) {
    tensors.push_back({name, dtype, std::move(extents)});
    bytes[name] = data;
  }
  io::TensorFill fill() const {
    return [this](const io::WeightInfo& tensor, const io::ByteSink& sink) {
      sink(bytes.at(tensor.name));
    };
  }
};

Contents contents_of(const Observation& observation, const ActionChunk& chunk) {
  constexpr int kChannels = 3;
  Contents contents;
  for (const auto& [camera, frame] : observation.frames) {
    const std::size_t size = std::size_t(frame.height) * std::size_t(frame.width) * kChannels;
    contents.add(camera, io::FileDType::kU8, {frame.height, frame.width, kChannels},
                 std::as_bytes(std::span(frame.pixels, size)));
  }
  contents.add("state", io::FileDType::kF64, {std::int64_t(observation.state.size())},
               as_bytes(observation.state));
  if (!chunk.values.empty()) {
    contents.add(kActionsName, io::FileDType::kF32, {chunk.actions, chunk.action_dim},
                 as_bytes(chunk.values));
  }
  contents.metadata["seed"] = std::to_string(observation.seed);
  if (observation.prompt) contents.metadata["prompt"] = *observation.prompt;
  if (const auto& realtime = observation.realtime) {
    const std::int64_t rows = realtime->rows;
    const auto columns = rows == 0 ? 0 : std::int64_t(realtime->previous.size()) / rows;
    contents.add(kPreviousName, io::FileDType::kF32, {rows, columns}, as_bytes(realtime->previous));
    contents.metadata.merge(realtime_metadata(*realtime));
  }
  return contents;
}

}  // namespace

std::string request_file_name(std::uint64_t number) {
  constexpr std::size_t kDigits = 8;
  std::string digits = std::to_string(number);
  if (digits.size() < kDigits) digits.insert(0, kDigits - digits.size(), '0');
  return digits + ".safetensors";
}

void write_request(const io::ByteSink& sink, const std::string& where,
                   const Observation& observation, const ActionChunk& chunk) {
  const Contents contents = contents_of(observation, chunk);
  io::write_safetensors(sink, where, contents.metadata, contents.tensors, contents.fill());
}

void write_request(const fs::path& path, const Observation& observation, const ActionChunk& chunk) {
  const Contents contents = contents_of(observation, chunk);
  io::write_safetensors(path, contents.metadata, contents.tensors, contents.fill());
}

std::string index_header(const fs::path& checkpoint, const LoadOptions& load,
                         const PolicyInfo& info) {
  return dump({{"format", kFormat},
               {"version", kVersion},
               {"checkpoint", fs::absolute(checkpoint).lexically_normal().string()},
               {"load", to_json(load, info)},
               {"policy", saccade::to_json(info)}});
}

std::string index_line(const RecordedRequest& request) {
  Json json = Json::object();
  if (!request.file.empty()) json["file"] = request.file;
  json["time"] = request.time;
  json["connection"] = request.connection;
  if (!request.error.empty()) json["error"] = request.error;
  if (!request.file.empty()) {
    json["seed"] = request.seed;
    json["queue_ms"] = request.queue_ms;
    json["policy_ms"] = request.policy_ms;
  }
  json["total_ms"] = request.total_ms;
  for (const StageTime& time : request.stages) json["stages"][time.stage] = time.ms;
  return dump(json);
}

Recording read_recording(const fs::path& directory) {
  const fs::path index = directory / kIndexName;
  SACCADE_CHECK(fs::is_regular_file(index), directory.string(), "is no recording: it has no file ",
                kIndexName);
  return parse_index(io::read_text(index), index.string());
}

Recording parse_index(std::string_view text, const std::string& file) {
  Recording recording;
  std::size_t number = 1;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t end = text.find('\n', begin);
    const std::string where = file + ", line " + std::to_string(number);
    SACCADE_CHECK(end != std::string_view::npos, where,
                  "the line is cut off; without it, the recording ", "can be replayed");
    const Json json = io::parse_json(text.substr(begin, end - begin), where);
    SACCADE_CHECK(json.is_object(), where, "is not a JSON object");
    const Fields fields(json, where);
    if (number == 1) {
      recording.policy = parse_header(fields);
    } else {
      recording.requests.push_back(parse_request(fields));
    }
    begin = end + 1;
  }
  SACCADE_CHECK(number > 1, file, "is empty");
  return recording;
}

RecordedReply read_reply(const fs::path& directory, const RecordedRequest& request) {
  const fs::path path = directory / request.file;
  RecordedReply reply;
  reply.stored = read_observation(path);
  reply.stored.observation.seed = request.seed;
  const io::SafetensorsFile file{path};
  Matrix actions = read_matrix(file, kActionsName);
  reply.actions = actions.rows;
  reply.action_dim = actions.columns;
  reply.values = std::move(actions.values);
  if (file.entries().contains(kPreviousName)) {
    reply.stored.observation.realtime = read_realtime(file);
  }
  return reply;
}

}  // namespace saccade::server
