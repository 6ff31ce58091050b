#include "io/weight_source.h"

#include <utility>

#include "core/check.h"
#include "io/canonical_names.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace saccade::io {

std::size_t size_of(FileDType dtype) {
  switch (dtype) {
    case FileDType::kF64:
    case FileDType::kI64:
      return 8;
    case FileDType::kF32:
    case FileDType::kI32:
      return 4;
    case FileDType::kF16:
    case FileDType::kBf16:
    case FileDType::kI16:
      return 2;
    case FileDType::kI8:
    case FileDType::kU8:
    case FileDType::kBool:
      return 1;
  }
  fail("file", "unknown element type");
}

const char* name_of(FileDType dtype) {
  switch (dtype) {
    case FileDType::kF64:
      return "F64";
    case FileDType::kF32:
      return "F32";
    case FileDType::kF16:
      return "F16";
    case FileDType::kBf16:
      return "BF16";
    case FileDType::kI64:
      return "I64";
    case FileDType::kI32:
      return "I32";
    case FileDType::kI16:
      return "I16";
    case FileDType::kI8:
      return "I8";
    case FileDType::kU8:
      return "U8";
    case FileDType::kBool:
      return "BOOL";
  }
  fail("file", "unknown element type");
}

std::int64_t WeightInfo::size() const {
  std::int64_t product = 1;
  for (std::int64_t extent : extents) product *= extent;
  return product;
}

std::uint64_t WeightInfo::bytes() const {
  return static_cast<std::uint64_t>(size()) * size_of(dtype);
}

std::string WeightInfo::shape() const {
  std::string text = "[";
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(extents[axis]);
  }
  return text + "]";
}

namespace {

class SafetensorsSource : public WeightSource {
 public:
  SafetensorsSource(std::vector<SafetensorsFile> files, std::string_view where)
      : files_(std::move(files)) {
    std::vector<std::string> keys;
    std::map<std::string, const SafetensorsFile*> owners;
    for (const SafetensorsFile& file : files_) {
      for (const auto& [key, entry] : file.entries()) {
        keys.push_back(key);
        owners[key] = &file;
      }
    }
    for (const auto& [name, key] : canonical_names(keys, where)) {
      const SafetensorsFile* file = owners.at(key);
      infos_[name] = file->entry(key).info;
      places_[name] = {file, &file->entry(key)};
    }
  }

  const std::map<std::string, WeightInfo>& tensors() const override { return infos_; }

  WeightView read(const std::string& canonical_name) override {
    const Place& place = at(canonical_name);
    place.file->prefetch(*place.entry);
    const WeightInfo& info = place.entry->info;
    WeightView view{place.file->bytes(*place.entry).data(), info.dtype, info.extents, {}};
    view.strides.resize(info.extents.size());
    // Backwards over the extents; with an extent of 0 the strides are never used.
    std::int64_t stride = 1;
    for (std::size_t axis = info.extents.size(); axis-- > 0;) {
      view.strides[axis] = stride;
      stride *= info.size() == 0 ? 1 : info.extents[axis];
    }
    return view;
  }

  void release(const std::string& canonical_name) override {
    const Place& place = at(canonical_name);
    place.file->drop(*place.entry);
  }

 private:
  struct Place {
    const SafetensorsFile* file = nullptr;
    const SafetensorsEntry* entry = nullptr;
  };

  const Place& at(const std::string& name) const {
    const auto found = places_.find(name);
    SACCADE_CHECK(found != places_.end(), "weights", "there is no tensor ", quote(name));
    return found->second;
  }

  std::vector<SafetensorsFile> files_;
  std::map<std::string, WeightInfo> infos_;
  std::map<std::string, Place> places_;
};

/// "weight_map" of an index: tensor to shard.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& index) {
  const std::string where = index.string();
  const nlohmann::json json = parse_large_json(read_text(index), where);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  SACCADE_CHECK(json.is_object() && map != json.end() && map->is_object(), where,
                "the index has no object weight_map");
  std::map<std::string, std::string> shards;
  for (const auto& [key, shard] : map->items()) {
    SACCADE_CHECK(shard.is_string(), where, "weight_map has no file name for ", quote(key));
    const auto& name = shard.get_ref<const std::string&>();
    SACCADE_CHECK(is_plain_file_name(name), where, "weight_map places ", quote(key), " in ",
                  quote(name), ", which is not the name of a file beside the index");
    shards[key] = name;
  }
  SACCADE_CHECK(!shards.empty(), where, "weight_map is empty");
  return shards;
}

std::vector<SafetensorsFile> open_shards(const std::filesystem::path& index) {
  const std::string where = index.string();
  const auto shards = read_weight_map(index);
  std::map<std::string, std::vector<std::string>> keys;
  for (const auto& [key, shard] : shards) keys[shard].push_back(key);

  std::string missing;
  for (const auto& [shard, list] : keys) {
    if (std::filesystem::exists(index.parent_path() / shard)) continue;
    missing += (missing.empty() ? "" : ", ") + quote(shard);
  }
  SACCADE_CHECK(missing.empty(), where, "these files of the checkpoint are missing: ", missing);

  std::vector<SafetensorsFile> files;
  for (const auto& [shard, list] : keys) {
    const SafetensorsFile& file = files.emplace_back(index.parent_path() / shard);
    for (const std::string& key : list) {
      SACCADE_CHECK(file.entries().contains(key), where, "weight_map places ", quote(key), " in ",
                    quote(shard), ", which does not hold it");
    }
    for (const auto& [key, entry] : file.entries()) {
      const auto place = shards.find(key);
      SACCADE_CHECK(place != shards.end() && place->second == shard, where, quote(shard), " holds ",
                    quote(key), ", which weight_map does not place there");
    }
  }
  return files;
}

}  // namespace

std::unique_ptr<WeightSource> open_safetensors(const std::filesystem::path& file_or_index) {
  std::vector<SafetensorsFile> files;
  if (file_or_index.extension() == ".json") {
    files = open_shards(file_or_index);
  } else {
    files.emplace_back(file_or_index);
  }
  return std::make_unique<SafetensorsSource>(std::move(files), file_or_index.string());
}

}  // namespace saccade::io
