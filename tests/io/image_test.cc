#include "io/image.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "crc32.h"
#include "saccade/error.h"

namespace saccade::io {
namespace {

const std::filesystem::path kFolder = SACCADE_GOLDEN "/perception";

std::vector<std::uint8_t> read_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// What the library says about a picture; empty when it takes it.
std::string error_of(const std::filesystem::path& path) {
  try {
    read_image(path);
    return "";
  } catch (const InvalidArgument& e) {
    return e.what();
  }
}

nlohmann::json goldens() { return nlohmann::json::parse(std::ifstream(kFolder / "images.json")); }

TEST(Image, HasThePixelsThatPilDecodes) {
  int count = 0;
  const nlohmann::json all = goldens();
  for (const auto& [file, want] : all.items()) {
    if (want.contains("error")) continue;
    SCOPED_TRACE(file);
    const Image image = read_image(kFolder / file);
    EXPECT_EQ(image.height, want["height"]);
    EXPECT_EQ(image.width, want["width"]);
    EXPECT_EQ(image.pixels.size(), std::size_t(image.height) * image.width * 3);
    EXPECT_EQ(testing::crc32(image.pixels), want["crc32"]);
    ++count;
  }
  EXPECT_EQ(count, 11);
}

TEST(Image, RefusesWhatIsNotAWholeRgbPicture) {
  int count = 0;
  const nlohmann::json all = goldens();
  for (const auto& [file, want] : all.items()) {
    if (!want.contains("error")) continue;
    const std::string error = error_of(kFolder / file);
    EXPECT_NE(error.find(want["error"].get<std::string>()), std::string::npos)
        << file << " says: " << error;
    EXPECT_NE(error.find(file), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    ++count;
  }
  EXPECT_EQ(count, 25);
}

TEST(Image, NamesTheFileThatCannotBeRead) {
  EXPECT_EQ(error_of("/no/such.jpg"), "[image] /no/such.jpg does not exist");
  EXPECT_EQ(error_of("/tmp"), "[image] /tmp is not a file");
}

TEST(Image, SurvivesEveryTruncation) {
  for (const char* file : {"baseline_420.jpg", "progressive.jpg", "palette.png", "rgba.png"}) {
    const std::vector<std::uint8_t> bytes = read_bytes(kFolder / file);
    ASSERT_FALSE(bytes.empty());
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_THROW(decode_image({bytes.data(), length}, file), InvalidArgument) << length;
    }
  }
}

// Which bytes matter depends on the format; that the answer is a picture or a sentence does not.
TEST(Image, SurvivesEveryChangedByte) {
  for (const char* file : {"progressive.jpg", "rgb.jpg", "palette_4_bits.png"}) {
    const std::vector<std::uint8_t> bytes = read_bytes(kFolder / file);
    ASSERT_FALSE(bytes.empty());
    int refused = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      std::vector<std::uint8_t> changed = bytes;
      changed[i] ^= 0xff;
      try {
        const Image image = decode_image(changed, file);
        EXPECT_EQ(image.pixels.size(), std::size_t(image.height) * image.width * 3);
      } catch (const InvalidArgument&) {
        ++refused;
      }
    }
    EXPECT_GT(refused, 0);
  }
}

}  // namespace
}  // namespace saccade::io
