#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "core/check.h"
#include "io/json.h"

namespace saccade::io {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are used as they lie");

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // as the format's own library has it
constexpr auto kMaxExtent = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
constexpr char kMetadata[] = "__metadata__";

using LargeJson = nlohmann::json;

FileDType parse_dtype(const LargeJson& tensor, std::string_view where, std::string_view name) {
  const auto field = tensor.find("dtype");
  SACCADE_CHECK(field != tensor.end() && field->is_string(), where, "tensor ", quote(name),
                " has no dtype");
  const auto& text = field->get_ref<const std::string&>();
  for (int i = 0; i <= static_cast<int>(FileDType::kBool); ++i) {
    const auto dtype = static_cast<FileDType>(i);
    if (text == name_of(dtype)) return dtype;
  }
  fail(where, "tensor ", quote(name), " has the dtype ", quote(text), ", which is not supported");
}

std::vector<std::int64_t> parse_extents(const LargeJson& tensor, std::string_view where,
                                        std::string_view name) {
  const auto field = tensor.find("shape");
  SACCADE_CHECK(field != tensor.end() && field->is_array(), where, "tensor ", quote(name),
                " has no shape");
  std::vector<std::int64_t> extents;
  for (const LargeJson& extent : *field) {
    SACCADE_CHECK(extent.is_number_unsigned() && extent.get<std::uint64_t>() <= kMaxExtent, where,
                  "tensor ", quote(name), " has an extent that is no integer from 0 to 2^63 - 1: ",
                  printable(extent.dump()));
    extents.push_back(extent.get<std::int64_t>());
  }
  return extents;
}

std::uint64_t checked_bytes(const WeightInfo& info, std::string_view where) {
  std::uint64_t bytes = size_of(info.dtype);
  for (std::int64_t extent : info.extents) {
    const auto factor = static_cast<std::uint64_t>(extent);
    SACCADE_CHECK(factor == 0 || bytes <= kMaxExtent / factor, where, "tensor ", quote(info.name),
                  " is larger than 2^63 bytes");
    bytes *= factor;
  }
  return bytes;
}

/// The entry with `begin` as the header has it: counted from the header's end.
SafetensorsEntry parse_entry(const std::string& name, const LargeJson& tensor,
                             std::uint64_t data_bytes, std::string_view where) {
  SACCADE_CHECK(tensor.is_object(), where, "tensor ", quote(name), " is not a JSON object");
  SafetensorsEntry entry;
  entry.info = {name, parse_dtype(tensor, where, name), parse_extents(tensor, where, name)};
  const std::uint64_t bytes = checked_bytes(entry.info, where);

  const auto offsets = tensor.find("data_offsets");
  SACCADE_CHECK(offsets != tensor.end() && offsets->is_array() && offsets->size() == 2 &&
                    (*offsets)[0].is_number_unsigned() && (*offsets)[1].is_number_unsigned(),
                where, "tensor ", quote(name), " has no data_offsets of two unsigned integers");
  entry.begin = (*offsets)[0].get<std::uint64_t>();
  const auto end = (*offsets)[1].get<std::uint64_t>();
  SACCADE_CHECK(entry.begin <= end, where, "tensor ", quote(name), " has reversed data_offsets ",
                entry.begin, ", ", end);
  SACCADE_CHECK(end <= data_bytes, where, "the file is truncated or lies: tensor ", quote(name),
                " ends at byte ", end, " of ", data_bytes, " bytes of data");
  SACCADE_CHECK(end - entry.begin == bytes, where, "tensor ", quote(name), " of type ",
                name_of(entry.info.dtype), " and shape ", printable(entry.info.shape()), " needs ",
                bytes, " bytes, its data_offsets span ", end - entry.begin);
  return entry;
}

/// Every byte of data belongs to exactly one tensor, so nothing can hide in the file.
void check_layout(const std::map<std::string, SafetensorsEntry>& entries, std::uint64_t data_bytes,
                  std::string_view where) {
  std::vector<const SafetensorsEntry*> order;
  for (const auto& [name, entry] : entries) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->info.bytes()) < std::pair(b->begin, b->info.bytes());
  });
  std::uint64_t end = 0;
  for (const SafetensorsEntry* entry : order) {
    SACCADE_CHECK(entry->begin >= end, where, "tensor ", quote(entry->info.name),
                  " overlaps the tensor before it, which ends at byte ", end);
    SACCADE_CHECK(entry->begin == end, where, "there is a hole of ", entry->begin - end,
                  " bytes before tensor ", quote(entry->info.name));
    end += entry->info.bytes();
  }
  SACCADE_CHECK(end == data_bytes, where, "the tensors end at byte ", end, " of ", data_bytes,
                " bytes of data");
}

std::map<std::string, std::string> parse_metadata(const LargeJson& object, std::string_view where) {
  SACCADE_CHECK(object.is_object(), where, kMetadata, " is not a JSON object");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : object.items()) {
    SACCADE_CHECK(value.is_string(), where, kMetadata, " has the field ", quote(key),
                  ", which is not a string");
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> head,
                                           std::uint64_t file_bytes, std::string_view where) {
  SACCADE_CHECK(file_bytes >= kLengthBytes && head.size() >= kLengthBytes, where,
                "a safetensors file starts with 8 bytes of header length, this one has ",
                file_bytes, " bytes");
  std::uint64_t length = 0;
  std::memcpy(&length, head.data(), kLengthBytes);
  SACCADE_CHECK(length <= kMaxHeaderBytes, where, "the header claims ", length,
                " bytes, at most 100 MB are allowed");
  SACCADE_CHECK(length <= file_bytes - kLengthBytes && length <= head.size() - kLengthBytes, where,
                "the header claims ", length, " bytes, but the file has only ", file_bytes);
  const std::string_view text(reinterpret_cast<const char*>(head.data()) + kLengthBytes, length);
  const LargeJson json = parse_large_json(text, where);
  SACCADE_CHECK(json.is_object(), where, "the header is not a JSON object");

  const std::uint64_t data_begin = kLengthBytes + length;
  const std::uint64_t data_bytes = file_bytes - data_begin;
  SafetensorsHeader header;
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadata) {
      header.metadata = parse_metadata(value, where);
    } else {
      header.entries[name] = parse_entry(name, value, data_bytes, where);
    }
  }
  check_layout(header.entries, data_bytes, where);
  for (auto& [name, entry] : header.entries) {
    entry.begin += data_begin;
    SACCADE_CHECK(entry.info.bytes() == 0 || entry.begin % size_of(entry.info.dtype) == 0, where,
                  "tensor ", quote(name), " of type ", name_of(entry.info.dtype),
                  " starts at byte ", entry.begin, " of the file, which is not aligned");
  }
  return header;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path),
      file_(path),
      header_(parse_safetensors_header(file_.bytes(), file_.bytes().size(), path.string())) {}

const SafetensorsEntry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = header_.entries.find(name);
  SACCADE_CHECK(found != header_.entries.end(), path_.string(), "there is no tensor ", quote(name));
  return found->second;
}

std::span<const std::byte> SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  return file_.bytes().subspan(entry.begin, entry.info.bytes());
}

}  // namespace saccade::io
