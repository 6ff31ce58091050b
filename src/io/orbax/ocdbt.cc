// OCDBT, the key-value store of TensorStore: a manifest names the root of a copy-on-write B+tree,
// whose nodes and values are ranges of data files. All tables are stored column by column.

#include "io/orbax/ocdbt.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "io/json.h"
#include "io/orbax/byte_reader.h"
#include "io/orbax/crc32c.h"
#include "io/orbax/zstd_stream.h"

namespace saccade::io::orbax {
namespace {

constexpr auto kOp = "orbax";
constexpr auto kManifest = "manifest.ocdbt";
constexpr std::uint32_t kManifestMagic = 0x0cdb3a2a;
constexpr std::uint32_t kNodeMagic = 0x0cdb20de;
constexpr std::size_t kCrcBytes = 4;

// A checkpoint has at most some ten thousand keys, and a node some thousand of them, so a tree
// beyond these limits is an attack or garbage.
constexpr int kMaxHeight = 8;
constexpr std::uint64_t kMaxTreeBytes = 64 << 20;  // decoded nodes and full keys together
constexpr std::uint64_t kItemCost = 256;           // of a node or an entry, beside its text

struct DataFile {
  std::string path;  // relative to the params directory
  std::string base;  // what the paths in this file's own nodes are relative to
};

struct NodeRange {
  DataFile file;
  std::uint64_t offset;
  std::uint64_t length;
};

class TreeReader {
 public:
  TreeReader(Files& files, Crc crc) : files_(files), crc_(crc) {}

  KeyValues read();

 private:
  std::vector<std::byte> open_envelope(std::span<const std::byte> blob, std::uint32_t magic,
                                       const std::string& where);
  std::vector<DataFile> data_files(ByteReader& reader, const std::string& base);
  void node(const NodeRange& range, int height, const std::string& prefix);
  void leaf(ByteReader& reader, const std::vector<DataFile>& files, const NodeRange& range,
            const std::string& prefix);
  void interior(ByteReader& reader, const std::vector<DataFile>& files, int height,
                const std::string& prefix);
  void spend(std::uint64_t bytes, const std::string& where);

  Files& files_;
  Crc crc_;
  std::uint64_t spent_ = 0;
  KeyValues values_;
};

void TreeReader::spend(std::uint64_t bytes, const std::string& where) {
  spent_ += std::min(bytes, kMaxTreeBytes);
  SACCADE_CHECK(spent_ <= kMaxTreeBytes, kOp, where, ": the tree takes more than ", kMaxTreeBytes,
                " bytes");
}

// Checks the frame that manifests and nodes share, and returns the decoded body.
std::vector<std::byte> TreeReader::open_envelope(std::span<const std::byte> blob,
                                                 std::uint32_t magic, const std::string& where) {
  ByteReader reader(blob, where);
  const std::uint32_t found = reader.u32_be();
  SACCADE_CHECK(found == magic, kOp, where, " starts with 0x", std::hex, found,
                ", an OCDBT file with 0x", magic);
  const std::uint64_t length = reader.u64_le();
  SACCADE_CHECK(length == blob.size(), kOp, where, " has ", blob.size(), " bytes, its header says ",
                length);
  const std::uint64_t version = reader.varint();
  SACCADE_CHECK(version == 0, kOp, where, " has OCDBT version ", version, ", only 0 is supported");
  const std::uint64_t compression = reader.varint();
  SACCADE_CHECK(compression <= 1, kOp, where, " has compression ", compression,
                ", only 0 (none) and 1 (zstd) are supported");
  SACCADE_CHECK(reader.remaining() >= kCrcBytes, kOp, where, " is truncated: it has no checksum");
  const auto body = reader.take(reader.remaining() - kCrcBytes);
  const std::uint32_t stored = reader.u32_le();
  if (crc_ == Crc::kVerify) {
    const std::uint32_t computed = crc32c(blob.first(blob.size() - kCrcBytes));
    SACCADE_CHECK(computed == stored, kOp, where, " is corrupt: its CRC32C is 0x", std::hex,
                  computed, ", the file says 0x", stored);
  }
  auto decoded = compression == 1 ? decode_zstd(body, kMaxTreeBytes - spent_, where)
                                  : std::vector<std::byte>(body.begin(), body.end());
  spend(decoded.size() + kItemCost, where);
  return decoded;
}

std::vector<DataFile> TreeReader::data_files(ByteReader& reader, const std::string& base) {
  const std::size_t count = reader.count();
  if (count == 0) return {};
  const auto prefix_lengths = reader.varints(count - 1);
  const auto suffix_lengths = reader.varints(count);
  const auto base_lengths = reader.varints(count);
  std::vector<DataFile> files(count);
  std::string path;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t kept = i == 0 ? 0 : prefix_lengths[i - 1];
    SACCADE_CHECK(kept <= path.size(), kOp, reader.where(), ": data file ", i, " shares ", kept,
                  " characters with a path of ", path.size());
    path.resize(kept);
    path += reader.text(suffix_lengths[i]);
    SACCADE_CHECK(base_lengths[i] <= path.size(), kOp, reader.where(), ": data file ", i,
                  " has a base of ", base_lengths[i], " characters in a path of ", path.size());
    spend(2 * (base.size() + path.size()), reader.where());
    files[i] = {base + path, base + path.substr(0, base_lengths[i])};
  }
  return files;
}

// Paths are checked when they are used: a table may hold an empty one for an empty version.
const DataFile& data_file(const std::vector<DataFile>& files, std::uint64_t id,
                          const ByteReader& reader) {
  SACCADE_CHECK(id < files.size(), kOp, reader.where(), " refers to data file ", id, " of ",
                files.size());
  const std::string& path = files[id].path;
  bool inside = !path.empty() && path.front() != '/' && path.find('\0') == std::string::npos;
  for (const auto& part : std::filesystem::path(path)) inside = inside && part != "..";
  SACCADE_CHECK(inside, kOp, reader.where(), " refers to the data file ", quote(path),
                ", which is not inside the params directory");
  return files[id];
}

KeyValues TreeReader::read() {
  const std::string where = files_.describe(kManifest);
  const auto body = open_envelope(files_.bytes(kManifest), kManifestMagic, where);
  ByteReader reader(body, where);
  reader.take(16);  // the database's UUID
  const std::uint64_t kind = reader.varint();
  SACCADE_CHECK(kind == 0, kOp, where, " is a manifest of kind ", kind,
                ", only single manifests (0) are supported");
  reader.varint();  // the limits and the arity matter to writers only
  reader.varint();
  reader.u8();
  const std::uint64_t compression = reader.varint();  // of nodes to come, and its level
  SACCADE_CHECK(compression <= 1, kOp, where, " configures compression ", compression,
                ", only 0 (none) and 1 (zstd) are supported");
  if (compression == 1) reader.u32_le();
  const auto files = data_files(reader, "");

  const std::size_t versions = reader.count();
  SACCADE_CHECK(versions > 0, kOp, where, " holds no version of the database");
  reader.varints(versions);  // generations
  const auto heights = reader.take(versions);
  const auto file_ids = reader.varints(versions);
  const auto offsets = reader.varints(versions);
  const auto lengths = reader.varints(versions);
  const auto key_counts = reader.varints(versions);
  if (key_counts.back() == 0) return {};  // an empty database has no root node
  const int height = std::to_integer<int>(heights.back());
  SACCADE_CHECK(height <= kMaxHeight, kOp, where, " has a tree of height ", height, ", more than ",
                kMaxHeight);
  const DataFile& file = data_file(files, file_ids.back(), reader);
  node({file, offsets.back(), lengths.back()}, height, "");
  return std::move(values_);
}

void TreeReader::node(const NodeRange& range, int height, const std::string& prefix) {
  const std::string what = "the node at offset " + std::to_string(range.offset);
  const std::string where = files_.describe(range.file.path) + ": " + what;
  const auto blob = files_.range(range.file.path, range.offset, range.length, what);
  const auto body = open_envelope(blob, kNodeMagic, where);
  ByteReader reader(body, where);
  const int stored_height = reader.u8();
  SACCADE_CHECK(stored_height == height, kOp, where, " has height ", stored_height,
                ", its parent says ", height);
  const auto files = data_files(reader, range.file.base);
  if (height == 0) {
    leaf(reader, files, range, prefix);
  } else {
    interior(reader, files, height, prefix);
  }
  SACCADE_CHECK(reader.remaining() == 0, kOp, where, " has ", reader.remaining(),
                " bytes after its last entry");
}

// The front-coded keys of a node, whose count and lengths of shared prefixes have been read.
class KeyColumn {
 public:
  KeyColumn(ByteReader& reader, std::size_t count)
      : prefix_lengths_(reader.varints(count - 1)), suffix_lengths_(reader.varints(count)) {}

  const std::string& next(ByteReader& reader) {
    const std::uint64_t kept = index_ == 0 ? 0 : prefix_lengths_[index_ - 1];
    SACCADE_CHECK(kept <= key_.size(), kOp, reader.where(), ": key ", index_, " shares ", kept,
                  " characters with a key of ", key_.size());
    key_.resize(kept);
    key_ += reader.text(suffix_lengths_[index_]);
    ++index_;
    return key_;
  }

 private:
  std::vector<std::uint64_t> prefix_lengths_;
  std::vector<std::uint64_t> suffix_lengths_;
  std::size_t index_ = 0;
  std::string key_;
};

std::size_t entry_count(ByteReader& reader) {
  const std::size_t count = reader.count();
  SACCADE_CHECK(count > 0, kOp, reader.where(), " has no entries");
  return count;
}

void TreeReader::leaf(ByteReader& reader, const std::vector<DataFile>& files,
                      const NodeRange& range, const std::string& prefix) {
  const std::size_t count = entry_count(reader);
  KeyColumn column(reader, count);
  std::vector<std::string> keys(count);
  for (auto& key : keys) {
    key = prefix + column.next(reader);
    spend(key.size() + kItemCost, reader.where());
  }
  const auto lengths = reader.varints(count);
  const auto kinds = reader.varints(count);
  const bool known = std::all_of(kinds.begin(), kinds.end(), [](auto kind) { return kind <= 1; });
  SACCADE_CHECK(known, kOp, reader.where(), " has a value that is neither inline nor in a file");
  const std::size_t in_files = std::count(kinds.begin(), kinds.end(), 1u);
  const auto file_ids = reader.varints(in_files);
  const auto offsets = reader.varints(in_files);
  std::size_t next_in_file = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Value value{range.file.path, 0, lengths[i], std::nullopt};
    if (kinds[i] == 0) {
      const auto bytes = reader.take(lengths[i]);
      value.inline_bytes.emplace(bytes.begin(), bytes.end());
    } else {
      value.file = data_file(files, file_ids[next_in_file], reader).path;
      value.offset = offsets[next_in_file++];
    }
    const bool is_new = values_.emplace(std::move(keys[i]), std::move(value)).second;
    SACCADE_CHECK(is_new, kOp, reader.where(), " repeats a key");
  }
}

void TreeReader::interior(ByteReader& reader, const std::vector<DataFile>& files, int height,
                          const std::string& prefix) {
  const std::size_t count = entry_count(reader);
  KeyColumn column(reader, count);
  const auto common_lengths = reader.varints(count);
  std::vector<std::string> prefixes(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& key = column.next(reader);
    SACCADE_CHECK(common_lengths[i] <= key.size(), kOp, reader.where(), ": subtree ", i, " shares ",
                  common_lengths[i], " characters of a key of ", key.size());
    prefixes[i] = prefix + key.substr(0, common_lengths[i]);
    spend(prefixes[i].size() + kItemCost, reader.where());
  }
  const auto file_ids = reader.varints(count);
  const auto offsets = reader.varints(count);
  const auto lengths = reader.varints(count);
  for (int statistic = 0; statistic < 3; ++statistic) reader.varints(count);
  for (std::size_t i = 0; i < count; ++i) {
    node({data_file(files, file_ids[i], reader), offsets[i], lengths[i]}, height - 1, prefixes[i]);
  }
}

}  // namespace

KeyValues read_ocdbt(Files& files, Crc crc) { return TreeReader(files, crc).read(); }

KeyValues list_directory(const std::filesystem::path& directory) {
  KeyValues values;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(directory, error), end;
  for (; !error && entry != end; entry.increment(error)) {
    if (!entry->is_regular_file(error)) continue;
    const std::string key = entry->path().lexically_relative(directory).generic_string();
    values[key] = {key, 0, entry->file_size(error), std::nullopt};
  }
  SACCADE_CHECK(!error, kOp, "cannot list ", directory.string(), ": ", error.message());
  return values;
}

std::span<const std::byte> value_bytes(Files& files, const Value& value, const std::string& what) {
  if (value.inline_bytes) return *value.inline_bytes;
  return files.range(value.file, value.offset, value.length, what);
}

}  // namespace saccade::io::orbax
