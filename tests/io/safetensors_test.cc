#include "io/safetensors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "temp_files.h"

namespace saccade::io {
namespace {

namespace fs = std::filesystem;

/// The header padded with spaces to a multiple of 8 bytes, as writers do.
std::string padded(std::string header) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

std::string parse_error(const std::string& file) {
  return error_of(
      [&] { parse_safetensors_header(std::as_bytes(std::span(file)), file.size(), "file"); });
}

/// One tensor "a" with these fields, over `data_bytes` bytes.
std::string parse_error_of_tensor(const std::string& fields, std::size_t data_bytes) {
  return parse_error(safetensors_bytes(padded("{\"a\":" + fields + "}"), data_bytes));
}

TEST(SafetensorsHeader, ReadsScalarsEmptyTensorsAndMetadata) {
  const std::string file = safetensors_bytes(
      padded(R"({"__metadata__":{"format":"pt"},)"
             R"("empty":{"dtype":"F64","shape":[3,0,4611686018427387904],"data_offsets":[4,4]},)"
             R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
             R"("last":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]}})"),
      16);
  const auto header = parse_safetensors_header(std::as_bytes(std::span(file)), file.size(), "f");
  EXPECT_EQ(header.metadata.at("format"), "pt");
  ASSERT_EQ(header.entries.size(), 3u);
  EXPECT_EQ(header.entries.at("scalar").info.size(), 1);
  EXPECT_EQ(header.entries.at("scalar").begin, file.size() - 16);
  EXPECT_EQ(header.entries.at("empty").info.bytes(), 0u);
  EXPECT_EQ(header.entries.at("last").info.shape(), "[2, 3]");
  EXPECT_EQ(header.entries.at("last").begin, file.size() - 12);
  EXPECT_EQ(header.entries.at("last").info.dtype, FileDType::kBf16);
}

TEST(SafetensorsHeader, AcceptsAFileWithoutTensors) {
  EXPECT_EQ(parse_error(safetensors_bytes("{}", 0)), "no error");
}

TEST(SafetensorsHeader, KnowsEveryElementType) {
  for (const char* name : {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}) {
    for (int i = 0; i <= static_cast<int>(FileDType::kBool); ++i) {
      const auto dtype = static_cast<FileDType>(i);
      if (std::string(name) != name_of(dtype)) continue;
      const auto bytes = std::to_string(size_of(dtype));
      EXPECT_EQ(parse_error_of_tensor("{\"dtype\":\"" + std::string(name) +
                                          "\",\"shape\":[1],\"data_offsets\":[0," + bytes + "]}",
                                      size_of(dtype)),
                "no error");
    }
  }
}

TEST(SafetensorsHeader, RefusesBadLengths) {
  EXPECT_EQ(parse_error(""),
            "[file] a safetensors file starts with 8 bytes of header length, this one has 0 bytes");
  EXPECT_TRUE(contains(parse_error("1234567"), "this one has 7 bytes"));
  std::string file = safetensors_bytes("{}", 0);
  file[0] = 3;
  EXPECT_EQ(parse_error(file), "[file] the header claims 3 bytes, but the file has only 10");
  file[7] = static_cast<char>(0x80);
  EXPECT_EQ(parse_error(file),
            "[file] the header claims 9223372036854775811 bytes, at most 100 MB are allowed");
  EXPECT_TRUE(contains(parse_error(std::string(8, '\xff') + "{}"),
                       "the header claims 18446744073709551615 bytes"));
  EXPECT_TRUE(contains(parse_error(std::string(8, '\0')), "not valid JSON"));
}

TEST(SafetensorsHeader, RefusesWhatIsNotAnObject) {
  EXPECT_EQ(parse_error(safetensors_bytes("{\"a\":", 0)),
            "[file] this is not valid JSON, see byte 6");
  EXPECT_EQ(parse_error(safetensors_bytes("[]", 0)), "[file] the header is not a JSON object");
  EXPECT_TRUE(contains(parse_error(safetensors_bytes("{} x", 0)), "not valid JSON"));
  EXPECT_TRUE(contains(parse_error(safetensors_bytes("{\"\xff\":1}", 0)), "not valid JSON"));
  EXPECT_TRUE(contains(parse_error(safetensors_bytes(std::string(100, '['), 0)), "nested deeper"));
  EXPECT_EQ(parse_error(safetensors_bytes("{\"a\":1}", 0)),
            "[file] tensor 'a' is not a JSON object");
  EXPECT_TRUE(contains(parse_error(safetensors_bytes("{\"__metadata__\":[]}", 0)),
                       "__metadata__ is not a JSON object"));
  EXPECT_TRUE(contains(parse_error(safetensors_bytes("{\"__metadata__\":{\"x\":1}}", 0)),
                       "__metadata__ has the field 'x', which is not a string"));
}

TEST(SafetensorsHeader, RefusesDuplicateKeys) {
  const std::string tensor = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_EQ(parse_error(safetensors_bytes("{\"a\":" + tensor + ",\"a\":" + tensor + "}", 1)),
            "[file] the key 'a' is there twice");
  EXPECT_EQ(
      parse_error_of_tensor(R"({"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]})", 1),
      "[file] the key 'shape' is there twice");
}

TEST(SafetensorsHeader, RefusesBadElementTypes) {
  EXPECT_EQ(parse_error_of_tensor(R"({"shape":[1],"data_offsets":[0,1]})", 1),
            "[file] tensor 'a' has no dtype");
  EXPECT_EQ(parse_error_of_tensor(R"({"dtype":8,"shape":[1],"data_offsets":[0,1]})", 1),
            "[file] tensor 'a' has no dtype");
  EXPECT_EQ(parse_error_of_tensor(R"({"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]})", 1),
            "[file] tensor 'a' has the dtype 'F8_E4M3', which is not supported");
}

TEST(SafetensorsHeader, RefusesBadShapes) {
  const auto error = [](const std::string& shape) {
    return parse_error_of_tensor(R"({"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,4]})",
                                 4);
  };
  EXPECT_EQ(error("4"), "[file] tensor 'a' has no shape");
  EXPECT_TRUE(contains(error("[-1]"), "no integer from 0 to 2^63 - 1: -1"));
  EXPECT_TRUE(contains(error("[1.0]"), "no integer from 0 to 2^63 - 1: 1.0"));
  EXPECT_TRUE(contains(error("[\"1\"]"), "no integer from 0 to 2^63 - 1"));
  EXPECT_TRUE(contains(error("[9223372036854775808]"), "no integer from 0 to 2^63 - 1"));
  EXPECT_TRUE(contains(error("[1e999]"), "out of range"));
  // The product wraps around to 4 bytes, or to 0, where it is not checked.
  EXPECT_EQ(error("[4611686018427387905]"), "[file] tensor 'a' is larger than 2^63 bytes");
  EXPECT_EQ(error("[4294967296,4294967296,1]"), "[file] tensor 'a' is larger than 2^63 bytes");
  EXPECT_EQ(error("[2]"),
            "[file] tensor 'a' of type F32 and shape [2] needs 8 bytes, its data_offsets span 4");
}

TEST(SafetensorsHeader, RefusesBadOffsets) {
  const auto error = [](const std::string& offsets) {
    return parse_error_of_tensor(R"({"dtype":"F32","shape":[1],"data_offsets":)" + offsets + "}",
                                 8);
  };
  for (const char* offsets : {"null", "[0]", "[0,4,8]", "[0,4.0]", "[-4,0]", "[0,\"4\"]"}) {
    EXPECT_EQ(error(offsets), "[file] tensor 'a' has no data_offsets of two unsigned integers");
  }
  EXPECT_EQ(parse_error_of_tensor(R"({"dtype":"F32","shape":[1]})", 4),
            "[file] tensor 'a' has no data_offsets of two unsigned integers");
  EXPECT_EQ(error("[4,0]"), "[file] tensor 'a' has reversed data_offsets 4, 0");
  EXPECT_EQ(error("[8,12]"),
            "[file] the file is truncated or lies: tensor 'a' ends at byte 12 of 8 bytes of data");
  EXPECT_TRUE(contains(error("[18446744073709551612,18446744073709551615]"), "truncated"));
  EXPECT_EQ(error("[4,8]"), "[file] there is a hole of 4 bytes before tensor 'a'");
  EXPECT_EQ(error("[0,4]"), "[file] the tensors end at byte 4 of 8 bytes of data");
}

TEST(SafetensorsHeader, RefusesOverlapsAndMisalignment) {
  EXPECT_EQ(parse_error(
                safetensors_bytes(padded(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                         R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})"),
                                  6)),
            "[file] tensor 'b' overlaps the tensor before it, which ends at byte 4");
  const std::string unpadded = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  ASSERT_NE(unpadded.size() % 4, 0u);
  EXPECT_TRUE(contains(parse_error(safetensors_bytes(unpadded, 4)), "which is not aligned"));
  EXPECT_EQ(parse_error(safetensors_bytes(padded(unpadded), 4)), "no error");
}

TEST(SafetensorsHeader, ReplacesControlCharactersAndShortensLongNames) {
  const std::string error =
      parse_error(safetensors_bytes("{\"\\u0000\\n" + std::string(1000, 'x') + "\":1}", 0));
  EXPECT_TRUE(contains(error, "tensor '??xxx"));
  EXPECT_LT(error.size(), 300u);
}

TEST(SafetensorsFile, NamesFilesThatCannotBeRead) {
  const TempDirectory directory;
  const auto open = [](const fs::path& path) { return error_of([&] { SafetensorsFile{path}; }); };
  EXPECT_TRUE(contains(open(directory.path() / "absent"), "absent] the file could not be opened"));
  EXPECT_TRUE(contains(open(directory.path()), "this is not a regular file"));
  EXPECT_TRUE(contains(open(directory.write("empty", "")), "this one has 0 bytes"));
  ASSERT_EQ(::mkfifo((directory.path() / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(contains(open(directory.path() / "pipe"), "this is not a regular file"));
}

TEST(SafetensorsFile, ReadsWhatTheReferenceLibraryWrote) {
  const SafetensorsFile file(SACCADE_GOLDEN "/pi0_lerobot/ref.safetensors");
  EXPECT_EQ(file.entry("in.tokens").info.dtype, FileDType::kI64);
  EXPECT_EQ(file.entry("in.image.0").info.shape(), "[1, 3, 28, 28]");
  EXPECT_EQ(file.bytes(file.entry("in.token_mask")).size(), 12u);
  EXPECT_TRUE(contains(error_of([&] { file.entry("x"); }), "there is no tensor 'x'"));
}

class WriteSafetensors : public ::testing::Test {
 protected:
  /// Element bytes that tell the tensor, given in two pieces.
  static void fill(const WeightInfo& info, const ByteSink& sink) {
    const std::vector<std::byte> bytes(info.bytes(), std::byte(info.name[0]));
    const std::size_t half = bytes.size() / 2;
    sink(std::span(bytes).first(half));
    sink(std::span(bytes).subspan(half));
  }

  const TempDirectory directory_;
  const fs::path path_ = directory_.path() / "out.safetensors";
  const std::vector<WeightInfo> tensors_ = {{"b", FileDType::kBf16, {3}},
                                            {"a", FileDType::kF32, {5, 1}},
                                            {"empty", FileDType::kF64, {0, 2}},
                                            {"c", FileDType::kF32, {}},
                                            {"u", FileDType::kU8, {3}}};
};

TEST_F(WriteSafetensors, IsReadBack) {
  write_safetensors(path_, {{"format", "pt"}}, tensors_, fill);
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  ASSERT_EQ(file.entries().size(), tensors_.size());
  for (const WeightInfo& info : tensors_) {
    const SafetensorsEntry& entry = file.entry(info.name);
    EXPECT_EQ(entry.info.shape(), info.shape());
    EXPECT_EQ(entry.info.dtype, info.dtype);
    for (std::byte b : file.bytes(entry)) EXPECT_EQ(b, std::byte(info.name[0]));
  }
  EXPECT_LT(file.entry("a").begin, file.entry("c").begin);
  EXPECT_LT(file.entry("c").begin, file.entry("b").begin);
  EXPECT_EQ(file.entry("empty").begin % 8, 0u);
  EXPECT_FALSE(fs::exists(path_.string() + ".partial"));
}

TEST_F(WriteSafetensors, LeavesNothingBehindOnFailure) {
  const auto short_fill = [](const WeightInfo&, const ByteSink& sink) {
    sink(std::vector<std::byte>(2));
  };
  EXPECT_TRUE(contains(error_of([&] { write_safetensors(path_, {}, tensors_, short_fill); }),
                       "tensor 'empty' was given 2 bytes, it has 0"));
  EXPECT_TRUE(fs::is_empty(directory_.path()));
  EXPECT_TRUE(contains(error_of([&] {
                         write_safetensors(path_, {}, {tensors_[0], tensors_[0]}, fill);
                       }),
                       "tensor 'b' is there twice"));
  EXPECT_TRUE(
      contains(error_of([&] {
                 write_safetensors(path_, {}, {{"__metadata__", FileDType::kU8, {1}}}, fill);
               }),
               "no tensor may be named"));
  EXPECT_TRUE(fs::is_empty(directory_.path()));
}

TEST_F(WriteSafetensors, KeepsTheOldFileOnFailure) {
  directory_.write("out.safetensors", "old");
  directory_.write("out.safetensors.partial", "stale");
  EXPECT_THROW(write_safetensors(path_, {}, tensors_,
                                 [](const auto&, const auto&) { throw InvalidArgument("stop"); }),
               InvalidArgument);
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_FALSE(fs::exists(path_.string() + ".partial"));
}

TEST_F(WriteSafetensors, SaysWhyTheOutputCannotBeWritten) {
  const auto absent = directory_.path() / "absent" / "out.safetensors";
  EXPECT_EQ(error_of([&] { write_safetensors(absent, {}, tensors_, fill); }),
            "[" + absent.string() + "] the file could not be written: No such file or directory");
}

TEST_F(WriteSafetensors, SaysThatTheDiskIsFull) {
  // A limit on the size of files fails as a full disk does: in the middle of write().
  rlimit old_limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{4096, old_limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string error = error_of([&] {
    write_safetensors(path_, {}, {{"big", FileDType::kF32, {1 << 20}}}, fill);
  });
  ::setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_TRUE(contains(error, "the file could not be written: File too large"));
  EXPECT_TRUE(fs::is_empty(directory_.path()));
}

}  // namespace
}  // namespace saccade::io
