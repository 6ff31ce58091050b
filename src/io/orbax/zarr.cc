#include "io/orbax/zarr.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/check.h"
#include "io/json.h"

namespace saccade::io::orbax {
namespace {

constexpr auto kOp = "orbax";
constexpr std::size_t kMaxMetadataBytes = 64 << 10;
constexpr std::size_t kMaxAxes = 8;
constexpr std::int64_t kMaxElements = std::int64_t{1} << 48;  // sizes in bytes fit 63 bits

std::optional<FileDType> find_dtype(const std::string& name) {
  static constexpr std::pair<const char*, FileDType> kTypes[] = {
      {"bfloat16", FileDType::kBf16}, {"<f4", FileDType::kF32}, {"<f2", FileDType::kF16},
      {"<f8", FileDType::kF64},       {"<i8", FileDType::kI64}, {"<i4", FileDType::kI32},
      {"<i2", FileDType::kI16},       {"|i1", FileDType::kI8},  {"|u1", FileDType::kU8},
      {"|b1", FileDType::kBool}};
  for (const auto& [text, dtype] : kTypes) {
    if (name == text) return dtype;
  }
  return std::nullopt;
}

// A member of the metadata as a message shows it.
std::string shown(const Json& metadata, const char* key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return "missing";
  return printable(found->dump(-1, ' ', true, Json::error_handler_t::replace));
}

std::vector<std::int64_t> read_extents(const Json& metadata, const char* key,
                                       const std::string& where) {
  std::vector<std::int64_t> extents;
  const auto found = metadata.find(key);
  bool valid = found != metadata.end() && found->is_array() && found->size() <= kMaxAxes;
  std::int64_t elements = 1;
  for (std::size_t axis = 0; valid && axis < found->size(); ++axis) {
    const Json& extent = (*found)[axis];
    valid = extent.is_number_unsigned() && extent.get<std::uint64_t>() >= 1 &&
            extent.get<std::uint64_t>() <= static_cast<std::uint64_t>(kMaxElements / elements);
    if (!valid) break;
    extents.push_back(extent.get<std::int64_t>());
    elements *= extents.back();
  }
  SACCADE_CHECK(valid, kOp, where, ": \"", key, "\" must be at most ", kMaxAxes,
                " positive extents of at most 2^48 elements, is ", shown(metadata, key));
  return extents;
}

void check_is(const Json& metadata, const char* key, const Json& expected,
              const std::string& where) {
  const auto found = metadata.find(key);
  SACCADE_CHECK(found != metadata.end() && *found == expected, kOp, where, ": \"", key,
                "\" must be ", expected.dump(), ", is ", shown(metadata, key));
}

bool read_compressed(const Json& metadata, const std::string& where) {
  const auto found = metadata.find("compressor");
  if (found != metadata.end() && found->is_null()) return false;
  const bool is_zstd =
      found != metadata.end() && found->is_object() && found->value("id", Json()) == "zstd";
  SACCADE_CHECK(is_zstd, kOp, where, ": the compressor must be zstd or none, is ",
                shown(metadata, "compressor"));
  return true;
}

char read_separator(const Json& metadata) {
  const auto found = metadata.find("dimension_separator");
  return found != metadata.end() && *found == "/" ? '/' : '.';
}

FileDType read_dtype(const Json& metadata, const std::string& where) {
  const auto found = metadata.find("dtype");
  std::optional<FileDType> dtype;
  if (found != metadata.end() && found->is_string()) dtype = find_dtype(found->get<std::string>());
  SACCADE_CHECK(dtype, kOp, where, ": \"dtype\" ", shown(metadata, "dtype"), " is not supported");
  return *dtype;
}

void find_chunks(ZarrArray& array, const KeyValues& values, const std::string& where) {
  std::int64_t count = 1;
  for (std::size_t axis = 0; axis < array.extents.size(); ++axis) {
    array.grid.push_back((array.extents[axis] - 1) / array.chunk_extents[axis] + 1);
    count *= array.grid.back();
  }
  for (std::int64_t chunk = 0; chunk < count; ++chunk) {
    const std::string key = array.chunk_key(chunk);
    const auto found = values.find(key);
    SACCADE_CHECK(found != values.end(), kOp, where, ": the chunk ", quote(key), " is missing");
    array.chunks.push_back(found->second);
  }
}

}  // namespace

std::int64_t ZarrArray::chunk_bytes() const {
  std::int64_t bytes = static_cast<std::int64_t>(size_of(dtype));
  for (const auto extent : chunk_extents) bytes *= extent;
  return bytes;
}

std::string ZarrArray::chunk_key(std::size_t chunk) const {
  std::string index;
  for (std::size_t axis = grid.size(); axis-- > 0; chunk /= grid[axis]) {
    const std::string digits = std::to_string(chunk % grid[axis]);
    index = index.empty() ? digits : digits + separator + index;
  }
  return name + '/' + index;
}

ZarrArray parse_zarr(const std::string& name, std::span<const std::byte> metadata_bytes,
                     const std::string& file, const KeyValues& values) {
  const std::string where = file + ": " + quote(name + "/.zarray");
  SACCADE_CHECK(metadata_bytes.size() <= kMaxMetadataBytes, kOp, where, " has ",
                metadata_bytes.size(), " bytes, more than ", kMaxMetadataBytes);
  const Json metadata = parse_json(
      {reinterpret_cast<const char*>(metadata_bytes.data()), metadata_bytes.size()}, where);
  SACCADE_CHECK(metadata.is_object(), kOp, where, " is not a JSON object");
  check_is(metadata, "zarr_format", 2, where);
  check_is(metadata, "order", "C", where);
  check_is(metadata, "filters", nullptr, where);

  ZarrArray array;
  array.name = name;
  array.dtype = read_dtype(metadata, where);
  array.compressed = read_compressed(metadata, where);
  array.separator = read_separator(metadata);
  array.extents = read_extents(metadata, "shape", where);
  array.chunk_extents = read_extents(metadata, "chunks", where);
  SACCADE_CHECK(array.extents.size() == array.chunk_extents.size(), kOp, where, ": the shape ",
                shown(metadata, "shape"), " and the chunks ", shown(metadata, "chunks"),
                " differ in rank");
  if (array.extents.empty()) array.extents = array.chunk_extents = {1};
  find_chunks(array, values, where);
  return array;
}

}  // namespace saccade::io::orbax
