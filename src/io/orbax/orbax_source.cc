#include "io/orbax/orbax_source.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "io/json.h"
#include "io/orbax/array_reader.h"
#include "io/orbax/orbax_names.h"
#include "io/orbax/zarr.h"

namespace saccade::io {
namespace orbax {
namespace {

constexpr auto kOp = "orbax";
constexpr std::string_view kMetadata = "/.zarray";
constexpr std::string_view kRoot = "params/";
constexpr std::string_view kValue = "/value";

class OrbaxSource : public WeightSource {
 public:
  OrbaxSource(std::unique_ptr<Files> files, const KeyValues& values);

  const std::map<std::string, WeightInfo>& tensors() const override { return infos_; }
  WeightView read(const std::string& canonical_name) override;
  void release(const std::string& canonical_name) override;

 private:
  struct Array {
    ArrayReader reader;
    std::int64_t last_layer_users = 0;  // tensors of the last layer that are not released yet
  };
  struct Tensor {
    Array* array;
    Placement placement;
    bool released = false;
  };

  void add(ZarrArray array, bool strip_value);
  Tensor& find(const std::string& canonical_name);

  std::unique_ptr<Files> files_;
  std::vector<std::unique_ptr<Array>> arrays_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, WeightInfo> infos_;
};

// The path of an array in the tree: "params/PaliGemma/img/head/kernel".
std::string path_of(std::string name) {
  std::replace(name.begin(), name.end(), '.', '/');
  return name;
}

OrbaxSource::OrbaxSource(std::unique_ptr<Files> files, const KeyValues& values)
    : files_(std::move(files)) {
  std::vector<ZarrArray> arrays;
  for (const auto& [key, value] : values) {
    if (!key.ends_with(kMetadata)) continue;
    const std::string name = key.substr(0, key.size() - kMetadata.size());
    arrays.push_back(
        parse_zarr(name, value_bytes(*files_, value, key), files_->describe(value.file), values));
  }
  SACCADE_CHECK(!arrays.empty(), kOp, files_->describe(""), " holds no zarr v2 array");
  const bool strip_value = std::all_of(arrays.begin(), arrays.end(), [](const ZarrArray& array) {
    return path_of(array.name).ends_with(kValue);
  });
  for (auto& array : arrays) add(std::move(array), strip_value);
}

// A tensor that has no canonical name: the array as it is.
Placement as_stored(const std::string& path, const std::vector<std::int64_t>& extents) {
  Placement placement;
  placement.canonical = path;
  placement.extents = placement.view_extents = placement.view_strides = extents;
  std::int64_t stride = 1;
  for (std::size_t axis = extents.size(); axis-- > 0; stride *= extents[axis]) {
    placement.view_strides[axis] = stride;
  }
  return placement;
}

void OrbaxSource::add(ZarrArray array, bool strip_value) {
  const std::string path = path_of(array.name);
  std::string leaf = path;
  if (strip_value) leaf.resize(leaf.size() - kValue.size());
  LeafPlacement placed;
  if (leaf.starts_with(kRoot)) placed = place_leaf(leaf.substr(kRoot.size()), array.extents);
  if (placed.tensors.empty()) placed.tensors.push_back(as_stored(path, array.extents));
  const FileDType dtype = array.dtype;
  arrays_.push_back(
      std::make_unique<Array>(Array{ArrayReader(*files_, std::move(array), placed.layered)}));
  Array* const owner = arrays_.back().get();
  for (auto& placement : placed.tensors) {
    const std::string name = placement.canonical;
    SACCADE_CHECK(infos_.count(name) == 0, kOp, files_->describe(""), ": both ", quote(path),
                  " and ", quote(infos_[name].name), " are ", name);
    infos_[name] = {path + placement.index, dtype, placement.extents};
    if (placement.layer == owner->reader.layers() - 1) ++owner->last_layer_users;
    tensors_.insert({name, {owner, std::move(placement)}});
  }
}

OrbaxSource::Tensor& OrbaxSource::find(const std::string& canonical_name) {
  const auto found = tensors_.find(canonical_name);
  SACCADE_CHECK(found != tensors_.end(), kOp, files_->describe(""), " has no tensor ",
                quote(canonical_name));
  return found->second;
}

WeightView OrbaxSource::read(const std::string& canonical_name) {
  Tensor& tensor = find(canonical_name);
  const Placement& placement = tensor.placement;
  const FileDType dtype = infos_.at(canonical_name).dtype;
  const std::byte* slab = tensor.array->reader.slab(placement.layer);
  return {slab + placement.offset * static_cast<std::int64_t>(size_of(dtype)), dtype,
          placement.view_extents, placement.view_strides};
}

void OrbaxSource::release(const std::string& canonical_name) {
  Tensor& tensor = find(canonical_name);
  Array& array = *tensor.array;
  // The tensors of a layer share its slab, and the next layer takes it over.
  if (tensor.placement.layer < array.reader.layers() - 1) return;
  if (!tensor.released) --array.last_layer_users;
  tensor.released = true;
  if (array.last_layer_users == 0) array.reader.close();
}

void refuse_zarr3(const std::filesystem::path& directory) {
  const auto path = directory / "_METADATA";
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return;
  const nlohmann::json metadata = parse_large_json(read_text(path), path.string());
  SACCADE_CHECK(metadata.is_object(), kOp, path.string(), " is not a JSON object");
  const auto found = metadata.find("use_zarr3");
  SACCADE_CHECK(found == metadata.end() || *found != true, kOp, path.string(),
                " says that the arrays are zarr v3, which is not supported: save the checkpoint"
                " with use_zarr3=False");
}

}  // namespace

std::unique_ptr<WeightSource> make_source(std::unique_ptr<Files> files, const KeyValues& values) {
  return std::make_unique<OrbaxSource>(std::move(files), values);
}

}  // namespace orbax

std::unique_ptr<WeightSource> open_orbax(const std::filesystem::path& params_directory) {
  std::error_code error;  // a path that cannot be looked at is none
  SACCADE_CHECK(std::filesystem::is_directory(params_directory, error), orbax::kOp,
                params_directory.string(), " is not a directory");
  orbax::refuse_zarr3(params_directory);
  auto files = std::make_unique<orbax::MappedFiles>(params_directory);
  const bool ocdbt = std::filesystem::exists(params_directory / "manifest.ocdbt", error);
  const auto values = ocdbt ? orbax::read_ocdbt(*files) : orbax::list_directory(params_directory);
  return orbax::make_source(std::move(files), values);
}

}  // namespace saccade::io
