// Checkpoints that are damaged, and OCDBT trees that no library would write.

#include <gtest/gtest.h>
#include <unistd.h>
#include <zstd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "io/orbax/array_reader.h"
#include "io/orbax/ocdbt.h"
#include "io/orbax/orbax_source.h"
#include "io/weight_source.h"
#include "orbax_writer.h"
#include "saccade/error.h"

namespace saccade::io {
namespace {

using namespace orbax::testing;

// The message of the InvalidArgument that `action` throws.
std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

#define EXPECT_HAS(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

// A copy of a golden checkpoint, to be damaged.
class Damaged {
 public:
  explicit Damaged(const std::string& golden)
      : path_(std::filesystem::path(testing::TempDir()) / ("orbax_" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::copy(std::filesystem::path(SACCADE_GOLDEN) / golden, path_,
                          std::filesystem::copy_options::recursive);
  }
  ~Damaged() { std::filesystem::remove_all(path_); }

  std::filesystem::path at(const std::string& file) const { return path_ / file; }

  std::string read(const std::string& file) const {
    std::ifstream stream(at(file), std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  void write(const std::string& file, const std::string& bytes) const {
    std::ofstream(at(file), std::ios::binary | std::ios::trunc) << bytes;
  }

  void replace(const std::string& file, const std::string& from, const std::string& to) const {
    std::string text = read(file);
    ASSERT_NE(text.find(from), std::string::npos);
    write(file, text.replace(text.find(from), from.size(), to));
  }

  // The data file of the golden that is in `folder`; they have random names.
  std::string only_file(const std::string& folder) const {
    return folder + "/" +
           std::filesystem::directory_iterator(path_ / folder)->path().filename().string();
  }

  // Opens the checkpoint and reads all of it.
  std::string error() const {
    return error_of([&] {
      const auto source = open_orbax(path_);
      for (const auto& [name, info] : source->tensors()) source->read(name);
    });
  }

 private:
  std::filesystem::path path_;
};

TEST(OrbaxDamage, IsNamedInEveryByteOfTheManifest) {
  const Damaged copy("orbax_sharded_bf16");
  ASSERT_EQ(copy.error(), "no error");
  const std::string good = copy.read("manifest.ocdbt");
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] ^= 0x10;
    copy.write("manifest.ocdbt", bad);
    EXPECT_HAS(copy.error(), "manifest.ocdbt");
    copy.write("manifest.ocdbt", good.substr(0, i));
    EXPECT_HAS(copy.error(), "manifest.ocdbt");
  }
  std::string bad = good;
  bad[20] ^= 1;
  copy.write("manifest.ocdbt", bad);
  EXPECT_HAS(copy.error(), "is corrupt: its CRC32C is 0x");
  copy.write("manifest.ocdbt", "PK" + good.substr(2));
  EXPECT_HAS(copy.error(), "starts with 0x504b3a2a, an OCDBT file with 0xcdb3a2a");
}

TEST(OrbaxDamage, IsNamedInNodes) {
  const Damaged copy("orbax_sharded_bf16");
  const std::string file = copy.only_file("d");
  const std::string good = copy.read(file);
  for (std::size_t i = 0; i < good.size(); i += 97) {
    std::string bad = good;
    bad[i] ^= 0x01;
    copy.write(file, bad);
    EXPECT_HAS(copy.error(), file + ": the node at offset 0");
  }
  std::string bad = good;
  bad[100] ^= 1;
  copy.write(file, bad);
  EXPECT_HAS(copy.error(), "CRC32C");
  copy.write(file, good.substr(0, good.size() - 1));
  EXPECT_HAS(copy.error(), file + " is truncated: the node at offset 0");
  std::filesystem::remove(copy.at(file));
  EXPECT_HAS(copy.error(), file);
}

TEST(OrbaxDamage, IsNamedInDataFiles) {
  const Damaged copy("orbax_sharded_bf16");
  for (const auto& entry : std::filesystem::directory_iterator(copy.at("ocdbt.process_0/d"))) {
    const std::string file = "ocdbt.process_0/d/" + entry.path().filename().string();
    const std::string good = copy.read(file);
    std::filesystem::remove(copy.at(file));
    const std::string missing = copy.error();
    copy.write(file, "");
    const std::string cut = copy.error();
    copy.write(file, std::string(good.size(), '\0'));
    const std::string zeros = copy.error();
    copy.write(file, good);
    // Nodes of the process's own database are of no interest to the merged one.
    if (missing == "no error") continue;
    EXPECT_HAS(missing, file);
    EXPECT_HAS(cut, file + " is truncated: the chunk 'params.");
    EXPECT_HAS(zeros, file + ": the chunk 'params.");
    EXPECT_HAS(zeros, "is not a valid zstd frame");
  }
}

std::string compress(const std::string& bytes) {
  std::string frame(ZSTD_compressBound(bytes.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), bytes.data(), bytes.size(), 1));
  return frame;
}

TEST(OrbaxDamage, IsNamedInChunks) {
  const Damaged copy("orbax_directories");
  const std::string chunk = "params.action_in_proj.kernel/0.2";  // [5, 2] float32
  const std::string good = copy.read(chunk);
  const auto error_with = [&](const std::string& bytes) {
    copy.write(chunk, bytes);
    const std::string message = copy.error();
    EXPECT_HAS(message, chunk);
    return message;
  };
  EXPECT_HAS(error_with(good.substr(0, good.size() - 1)), "has no end");
  EXPECT_HAS(error_with(good + "x"), "has 1 bytes after its zstd frame");
  EXPECT_HAS(error_with(good + good), "bytes after its zstd frame");
  EXPECT_HAS(error_with(""), "has no end");
  EXPECT_HAS(error_with("not zstd at all"), "is not a valid zstd frame");
  EXPECT_HAS(error_with(compress(std::string(39, 'a'))), "decodes to 39 bytes instead of 40");
  EXPECT_HAS(error_with(compress(std::string(41, 'a'))), "decodes to more bytes than it should");
  EXPECT_HAS(error_with(compress("")), "decodes to 0 bytes instead of 40");
  std::filesystem::remove(copy.at(chunk));
  EXPECT_HAS(copy.error(), "the chunk '" + chunk + "' is missing");
  copy.write(chunk, compress(std::string(40, 'a')));
  EXPECT_EQ(copy.error(), "no error");
}

TEST(OrbaxDamage, IsNamedInArrayMetadata) {
  const std::string file = "params.action_in_proj.bias/.zarray";  // [8] in chunks of [2]
  const std::vector<std::array<std::string, 3>> cases = {
      {R"("id":"zstd")", R"("id":"gzip")", R"(must be zstd or none, is {"id":"gzip","level":1})"},
      {R"({"id":"zstd","level":1})", R"({"id":"blosc"})", "must be zstd or none"},
      {R"({"id":"zstd","level":1})", "3", "must be zstd or none, is 3"},
      {R"({"id":"zstd","level":1})", "null", "which cannot hold its 8"},
      {R"("order":"C")", R"("order":"F")", R"("order" must be "C", is "F")"},
      {R"("filters":null)", R"("filters":[{"id":"delta"}])", R"("filters" must be null)"},
      {R"("zarr_format":2)", R"("zarr_format":3)", R"("zarr_format" must be 2, is 3)"},
      {R"("dtype":"<f4")", R"("dtype":">f4")", R"("dtype" ">f4" is not supported)"},
      {R"("dtype":"<f4")", R"("dtype":[["a","<f4"]])", "is not supported"},
      {R"("dtype":"<f4")", R"("dtype":"<f8")", "decodes to 8 bytes instead of 16"},
      {R"("shape":[8])", R"("shape":[-8])", R"("shape" must be)"},
      {R"("shape":[8])", R"("shape":[8,1])", "differ in rank"},
      {R"("shape":[8])", R"("shape":[1099511627776,1099511627776])", R"("shape" must be)"},
      {R"("shape":[8])", R"("shape":[18446744073709551615])", R"("shape" must be)"},
      {R"("shape":[8])", R"("shape":[9])", "'params.action_in_proj.bias/4' is missing"},
      {R"("shape":[8])", R"("shape":8)", R"("shape" must be)"},
      {R"("shape":[8])", R"("shape":[1,1,1,1,1,1,1,1,1])", R"("shape" must be)"},
      {R"("chunks":[2])", R"("chunks":[0])", R"("chunks" must be)"},
      {R"("chunks":[2])", R"("chunks":[281474976710656])", "which cannot hold its"},
      {R"("chunks":[2])", R"("chunks":[2.5])", R"("chunks" must be)"},
      {R"("chunks":[2],)", "", R"("chunks" must be)"},
      {"{", "[", "is not valid JSON"},
  };
  for (const auto& [from, to, part] : cases) {
    const Damaged copy("orbax_directories");
    copy.replace(file, from, to);
    const std::string message = copy.error();
    EXPECT_HAS(message, "params.action_in_proj.bias");
    EXPECT_HAS(message, part);
  }
}

TEST(OrbaxDamage, IsNamedInTheDirectory) {
  const std::filesystem::path golden = SACCADE_GOLDEN;
  const auto open = [](const std::filesystem::path& path) {
    return error_of([&] { open_orbax(path); });
  };
  EXPECT_HAS(open(golden / "orbax_zarr3"), "zarr v3, which is not supported");
  EXPECT_HAS(open(golden / "orbax_nowhere"), "orbax_nowhere is not a directory");
  EXPECT_HAS(open(golden / "orbax_directories" / "params.action_in_proj.bias" / "0"),
             "is not a directory");
  EXPECT_HAS(open(golden / "pi0_orbax" / "orbax" / "params" / "d"), "holds no zarr v2 array");
  const Damaged copy("orbax_directories");
  copy.write("_METADATA", "{");
  EXPECT_HAS(copy.error(), "_METADATA");
}

// An OCDBT database in memory: a manifest and one file of nodes.
std::string error_of_tree(orbax::testing::Root root, const std::string& node) {
  MemoryFiles files;
  if (root.length == 0) root.length = node.size();
  files.contents["manifest.ocdbt"] = envelope(kManifestMagic, manifest_body(root));
  files.contents["d/node"] = node;
  return error_of([&] { orbax::read_ocdbt(files); });
}

std::string leaf_node(const std::string& body) { return envelope(kNodeMagic, body); }

TEST(HostileTree, GoodOneIsRead) {
  MemoryFiles files;
  const std::string node = leaf_node(leaf_body("key", "value"));
  orbax::testing::Root root;
  root.length = node.size();
  files.contents = {{"manifest.ocdbt", envelope(kManifestMagic, manifest_body(root))},
                    {"d/node", node}};
  const auto values = orbax::read_ocdbt(files);
  ASSERT_EQ(values.size(), 1u);
  const auto bytes = orbax::value_bytes(files, values.at("key"), "key");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "value");
}

TEST(HostileTree, EmptyDatabaseHasNoRoot) {
  orbax::testing::Root root;
  root.keys = 0;
  EXPECT_EQ(error_of_tree(root, ""), "no error");
}

TEST(HostileTree, HeaderIsChecked) {
  MemoryFiles files;
  const std::string body = manifest_body({});
  const auto error_with = [&](const std::string& manifest) {
    files.contents["manifest.ocdbt"] = manifest;
    const std::string message = error_of([&] { orbax::read_ocdbt(files); });
    EXPECT_HAS(message, "manifest.ocdbt");
    return message;
  };
  EXPECT_HAS(error_with(envelope(kManifestMagic, body, 1)), "OCDBT version 1");
  EXPECT_HAS(error_with(envelope(kManifestMagic, body, 0, 2)), "compression 2");
  EXPECT_HAS(error_with(envelope(kManifestMagic, body, 0, 1)), "is not a valid zstd frame");
  EXPECT_HAS(error_with(envelope(kNodeMagic, body)), "starts with 0xcdb20de");
  EXPECT_HAS(error_with(envelope(kManifestMagic, body) + "x"), "its header says");
  EXPECT_HAS(error_with(""), "is truncated");
}

TEST(HostileTree, ManifestIsChecked) {
  using orbax::testing::Root;
  const std::string node = leaf_node(leaf_body("key", "value"));
  const auto error_with = [&](const std::function<void(Root&)>& change) {
    Root root;
    change(root);
    return error_of_tree(root, node);
  };
  EXPECT_HAS(error_with([](Root& r) { r.kind = 1; }), "a manifest of kind 1");
  EXPECT_HAS(error_with([](Root& r) { r.versions = 0; }), "holds no version");
  EXPECT_HAS(error_with([](Root& r) { r.versions = ~0ull; }), "is truncated");
  EXPECT_HAS(error_with([](Root& r) { r.height = 9; }), "a tree of height 9");
  EXPECT_HAS(error_with([](Root& r) { r.height = 1; }), "has height 0, its parent says 1");
  EXPECT_HAS(error_with([](Root& r) { r.file_id = 1; }), "refers to data file 1 of 1");
  EXPECT_HAS(error_with([](Root& r) { r.offset = 1; }), "d/node is truncated");
  EXPECT_HAS(error_with([](Root& r) { r.offset = ~0ull; }), "d/node is truncated");
  EXPECT_HAS(error_with([](Root& r) { r.length = ~0ull; }), "d/node is truncated");
  EXPECT_HAS(error_with([](Root& r) { r.length = 3; }), "is truncated");
  const std::string with_zero("d/no\0de", 7);
  for (const std::string& path :
       {std::string("/etc/passwd"), std::string("../node"), std::string("d/../../node"),
        std::string(".."), std::string(), with_zero}) {
    EXPECT_HAS(error_with([&](Root& r) { r.files = file_table({path}); }),
               "is not inside the params directory");
  }
  EXPECT_HAS(error_with([](Root& r) { r.files = varint(~0ull); }), "items in");
  EXPECT_HAS(error_with([](Root& r) { r.files = varints({1, 1, 2}) + "d"; }), "has a base of 2");
  EXPECT_HAS(error_with([](Root& r) {
               r.files = varints({2, 5, 1, 1, 0, 0}) + "de";
             }),
             "shares 5 characters with a path of 1");
  EXPECT_HAS(error_with([](Root& r) { r.files = std::string(10, '\xff'); }), "beyond 64 bits");
}

TEST(HostileTree, LeavesAreChecked) {
  const std::string head = '\0' + file_table({"d/node"});
  const auto error_with = [&](const std::string& rest) {
    const std::string message = error_of_tree({}, leaf_node(head + rest));
    EXPECT_HAS(message, "d/node: the node at offset 0");
    return message;
  };
  EXPECT_HAS(error_with(varint(0)), "has no entries");
  EXPECT_HAS(error_with(varint(1u << 30)), "announces 1073741824 items");
  EXPECT_HAS(error_with(varints({1, 1000}) + "key"), "is truncated");
  EXPECT_HAS(error_with(varints({2, 9, 1, 1}) + "ab"), "shares 9 characters with a key of 1");
  EXPECT_HAS(error_with(varints({2, 1, 1, 0}) + "a" + varints({0, 0, 0, 0})), "repeats a key");
  EXPECT_HAS(error_with(varints({1, 1}) + "a" + varints({5, 0}) + "four"), "is truncated");
  EXPECT_HAS(error_with(varints({1, 1}) + "a" + varints({1, 0}) + "vx"), "1 bytes after its last");
  EXPECT_HAS(error_with(varints({1, 1}) + "a" + varints({1, 2})), "neither inline nor in a file");
  EXPECT_HAS(error_with(varints({1, 1}) + "a" + varints({1, 1, 7, 0})), "data file 7 of 1");
}

TEST(HostileTree, BranchesAreChecked) {
  const auto error_with = [](const std::string& rest) {
    orbax::testing::Root root;
    root.height = 1;
    return error_of_tree(root, leaf_node('\1' + file_table({"d/node"}) + rest));
  };
  EXPECT_HAS(error_with(varints({1, 1, 2}) + "a"), "shares 2 characters of a key of 1");
  EXPECT_HAS(error_with(varints({1, 1, 0}) + "a" + varints({0, 0, 9999, 1, 1, 1})), "truncated");
  EXPECT_HAS(error_with(varints({1, 1, 0}) + "a" + varints({3, 0, 9, 1, 1, 1})), "file 3 of 1");
  EXPECT_HAS(error_with(varint(0)), "has no entries");
}

// Eight levels of nodes with 100 references to one child each would be a tree of 10^16 keys.
TEST(HostileTree, SharedSubtreesDoNotExplode) {
  std::string file = leaf_node(leaf_body("", ""));
  std::uint64_t child = 0;
  std::uint64_t child_length = file.size();
  constexpr std::size_t kChildren = 100;
  const auto column = [&](std::uint64_t value) {
    return varints(std::vector<std::uint64_t>(kChildren, value));
  };
  for (int height = 1; height <= 8; ++height) {
    std::string body = static_cast<char>(height) + file_table({"d/node"}) + varint(kChildren);
    body += varints(std::vector<std::uint64_t>(kChildren - 1, 0)) + column(1) + column(1);
    for (std::size_t i = 0; i < kChildren; ++i) body += static_cast<char>(' ' + i);
    body += column(0) + column(child) + column(child_length) + column(1) + column(1) + column(1);
    const std::string node = leaf_node(body);
    child = file.size();
    child_length = node.size();
    file += node;
  }
  orbax::testing::Root root;
  root.height = 8;
  root.offset = child;
  root.length = child_length;
  EXPECT_HAS(error_of_tree(root, file), "the tree takes more than");
}

TEST(HostileTree, CompressedBombIsRefused) {
  MemoryFiles files;
  files.contents["manifest.ocdbt"] =
      envelope(kManifestMagic, compress(std::string(65 << 20, 'a')), 0, 1);
  EXPECT_HAS(error_of([&] { orbax::read_ocdbt(files); }), "decodes to more bytes than it should");
}

TEST(HostileTree, ArrayThatFailedStartsAgain) {
  // Two layers in two chunks; the second chunk ends inside the first layer.
  orbax::ZarrArray array{"a", FileDType::kU8, true, {2, 4}, {2, 2}, {1, 2}, {}, '.'};
  MemoryFiles files;
  files.contents = {{"good", compress("abcd")}, {"bad", compress("x")}};
  for (const std::string file : {"good", "bad"}) {
    array.chunks.push_back({file, 0, files.contents[file].size(), std::nullopt});
  }
  orbax::ArrayReader reader(files, array, true);
  for (const int layer : {0, 0, 1, 1, 0}) {
    EXPECT_HAS(error_of([&] { reader.slab(layer); }), "decodes to 1 bytes instead of 4");
  }
  EXPECT_HAS(error_of([&] { reader.slab(2); }), "has 2 layers, asked for 2");
}

}  // namespace
}  // namespace saccade::io
