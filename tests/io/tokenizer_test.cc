#include "io/tokenizer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "saccade/error.h"

namespace saccade::io {
namespace {

namespace fs = std::filesystem;

const fs::path kModel = SACCADE_GOLDEN "/perception/tiny_tokenizer.model";

template <typename Function>
std::string error_of(Function function) {
  try {
    function();
    return "";
  } catch (const InvalidArgument& e) {
    return e.what();
  }
}

void write(const fs::path& path, const std::string& content) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

std::string read(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// An empty home folder, and no variable that names a tokenizer.
class TokenizerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root = fs::temp_directory_path() / ("saccade_tokenizer_test_" + std::to_string(getpid()));
    fs::remove_all(root);
    fs::create_directories(root / "home");
    for (const char* name : {"SACCADE_TOKENIZER", "HF_HUB_CACHE", "HF_HOME", "OPENPI_DATA_HOME"}) {
      unsetenv(name);
    }
    setenv("HOME", (root / "home").c_str(), 1);
  }
  void TearDown() override { fs::remove_all(root); }

  fs::path root;
};

using FindTokenizer = TokenizerTest;

TEST_F(TokenizerTest, EncodesTheAwkwardTexts) {
  const Tokenizer tokenizer(kModel);
  EXPECT_EQ(tokenizer.vocabulary(), 512);
  EXPECT_EQ(tokenizer.encode("", false), std::vector<int>{});
  EXPECT_EQ(tokenizer.encode("", true), std::vector<int>{2});
  EXPECT_EQ(tokenizer.encode("\n", false), std::vector<int>{4});
  EXPECT_EQ(tokenizer.encode("\n\n", true), (std::vector<int>{2, 4, 4}));
  // A byte without a piece falls back to its own token: <0x00> is 5.
  EXPECT_EQ(tokenizer.encode(std::string_view("\0\xf0\x9f\xa4\x96", 5), false),
            (std::vector<int>{5, 5 + 0xf0, 5 + 0x9f, 5 + 0xa4, 5 + 0x96}));
  Tokenizer moved(kModel);
  moved = Tokenizer(kModel);
  EXPECT_EQ(moved.encode("pick up", true), tokenizer.encode("pick up", true));
}

TEST_F(TokenizerTest, RefusesWhatIsNoModel) {
  const fs::path missing = root / "missing.model";
  EXPECT_EQ(error_of([&] { Tokenizer{missing}; }),
            "[tokenizer] " + missing.string() + " does not exist or is not a file");
  EXPECT_NE(error_of([&] { Tokenizer{root}; }).find("is not a file"), std::string::npos);
  const std::string model = read(kModel);
  ASSERT_FALSE(model.empty());
  const fs::path bad = root / "bad.model";
  for (const std::string& content :
       {std::string(), std::string("\x89PNG"), std::string(1000, '\xff'), model.substr(0, 1000)}) {
    write(bad, content);
    EXPECT_EQ(error_of([&] { Tokenizer{bad}; }),
              "[tokenizer] " + bad.string() + " is no SentencePiece model");
  }
}

TEST_F(FindTokenizer, TakesWhatIsGivenOrSaysWhyNot) {
  const fs::path folder = root / "given";
  EXPECT_EQ(find_tokenizer(kModel, ""), kModel);
  EXPECT_EQ(error_of([&] { find_tokenizer(folder, ""); }),
            "[tokenizer] " + folder.string() + ", given by --tokenizer, does not exist");
  fs::create_directories(folder);
  EXPECT_NE(error_of([&] { find_tokenizer(folder, ""); }).find("is a folder without"),
            std::string::npos);
  write(folder / "tokenizer.model", "x");
  EXPECT_EQ(find_tokenizer(folder, ""), folder / "tokenizer.model");
  setenv("SACCADE_TOKENIZER", (root / "nowhere").c_str(), 1);
  EXPECT_EQ(find_tokenizer(folder, ""), folder / "tokenizer.model");
  EXPECT_NE(error_of([&] { find_tokenizer("", ""); }).find("given by SACCADE_TOKENIZER"),
            std::string::npos);
}

// Each place is filled after the ones that it comes before, so that each must win over them.
TEST_F(FindTokenizer, LooksInTheDocumentedOrder) {
  const fs::path checkpoint = root / "checkpoint";
  fs::create_directories(checkpoint);
  const auto expect_found = [&](const fs::path& file) {
    write(file, "x");
    EXPECT_EQ(find_tokenizer("", checkpoint), file);
  };
  const auto cache = root / "home" / ".cache";
  const std::string model = "models--google--paligemma-3b-pt-224";
  expect_found(cache / "openpi/big_vision/paligemma_tokenizer.model");
  setenv("OPENPI_DATA_HOME", (root / "data").c_str(), 1);
  expect_found(root / "data/big_vision/paligemma_tokenizer.model");
  expect_found(cache / "huggingface/hub" / model / "snapshots/b/tokenizer.model");
  expect_found(cache / "huggingface/hub" / model / "snapshots/a/tokenizer.model");
  write(cache / "huggingface/hub" / model / "refs/main", "c\n");
  expect_found(cache / "huggingface/hub" / model / "snapshots/c/tokenizer.model");
  setenv("HF_HOME", (root / "hf").c_str(), 1);
  expect_found(root / "hf/hub" / model / "snapshots/a/tokenizer.model");
  setenv("HF_HUB_CACHE", (root / "hub").c_str(), 1);
  expect_found(root / "hub" / model / "snapshots/a/tokenizer.model");
  setenv("SACCADE_TOKENIZER", (root / "named.model").c_str(), 1);
  expect_found(root / "named.model");
  expect_found(checkpoint / "tokenizer/tokenizer.model");
  expect_found(checkpoint / "tokenizer.model");
  expect_found(checkpoint / "paligemma_tokenizer.model");
}

TEST_F(FindTokenizer, SaysWhereItLookedAndWhereToGetTheFile) {
  const std::string error = error_of([&] { find_tokenizer("", root / "checkpoint"); });
  for (const std::string& part :
       {(root / "checkpoint").string(), (root / "home/.cache/huggingface/hub").string(),
        (root / "home/.cache/openpi/big_vision").string(), std::string("$SACCADE_TOKENIZER"),
        std::string("gs://big_vision/paligemma_tokenizer.model"),
        std::string("google/paligemma-3b-pt-224"), std::string("--tokenizer")}) {
    EXPECT_NE(error.find(part), std::string::npos) << part << " is missing in: " << error;
  }
}

}  // namespace
}  // namespace saccade::io
