#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "client.h"
#include "io/temp_files.h"
#include "runtime/synth.h"
#include "saccade.h"

namespace saccade {

namespace fs = std::filesystem;

inline const std::string kTokenizer =
    (fs::path(SACCADE_GOLDEN) / "../../examples/data/tiny_tokenizer.model").string();

inline std::vector<std::uint8_t> picture(int seed) {
  std::vector<std::uint8_t> pixels(48 * 64 * 3);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = std::uint8_t((int(i) * 31 + seed * 97) % 251);
  }
  return pixels;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

/// One tiny policy for all tests, which leave it as it is.
class CapiTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new io::TempDirectory;
    synthesize_checkpoint(directory_->path() / "pi05", {});
    ASSERT_EQ(client_load(checkpoint().c_str(), kTokenizer.c_str(), &policy_), SACCADE_OK)
        << saccade_error_message();
  }
  static void TearDownTestSuite() {
    saccade_free(policy_);
    policy_ = nullptr;
    delete directory_;
    directory_ = nullptr;
  }
  static std::string checkpoint() { return (directory_->path() / "pi05").string(); }

  void SetUp() override {
    ASSERT_NE(policy_, nullptr);
    client_prepare(&client_, front_.data(), wrist_.data(), values_.data(), values_.size());
  }

  saccade_status infer() { return saccade_infer(policy_, &client_.observation, &client_.chunk); }

  /// An inference that must be refused with a sentence that holds all parts, and write nothing.
  void expect_refused(std::initializer_list<const char*> parts,
                      saccade_status status = SACCADE_INVALID_ARGUMENT) {
    const std::vector<float> values = values_;
    client_inference before = client_;
    EXPECT_EQ(infer(), status);
    expect_message(parts);
    EXPECT_TRUE(same_bits(values, values_));
    EXPECT_EQ(std::memcmp(&before, &client_, sizeof(before)), 0);
  }

  static void expect_message(std::initializer_list<const char*> parts) {
    const std::string message = saccade_error_message();
    for (const char* part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
    }
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }

  inline static io::TempDirectory* directory_ = nullptr;
  inline static saccade_policy* policy_ = nullptr;
  std::vector<std::uint8_t> front_ = picture(1);
  std::vector<std::uint8_t> wrist_ = picture(2);
  std::vector<float> values_ = std::vector<float>(6 * 14, NAN);
  client_inference client_{};
};

}  // namespace saccade
