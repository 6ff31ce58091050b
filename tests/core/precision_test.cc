#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "saccade/policy.h"

namespace saccade {
namespace {

constexpr auto kF32 = Precision::kF32;
constexpr auto kBf16 = Precision::kBf16;
constexpr auto kFp8 = Precision::kFp8;

TEST(Precision, ATextIsOneForEveryStage) {
  const std::vector<std::tuple<std::string, Precisions, std::string>> texts{
      {"f32", {kF32, kF32, kF32}, "f32"},
      {"bf16", {kBf16, kBf16, kBf16}, "bf16"},
      {"fp8", {kBf16, kFp8, kFp8}, "fp8"},
      {"expert=fp8", {kBf16, kBf16, kFp8}, "vision=bf16,prefix=bf16,expert=fp8"},
      {"prefix=fp8", {kBf16, kFp8, kBf16}, "vision=bf16,prefix=fp8,expert=bf16"},
      {"expert=fp8,prefix=fp8", {kBf16, kFp8, kFp8}, "fp8"},
      {"vision=bf16", {kBf16, kBf16, kBf16}, "bf16"},
      {"prefix=f32,vision=f32,expert=f32", {kF32, kF32, kF32}, "f32"},
  };
  for (const auto& [text, precisions, name] : texts) {
    LoadOptions options;
    options.auto_precision = 0.5;
    set_precision(text, options);
    EXPECT_EQ(options.precision, precisions) << text;
    EXPECT_FALSE(options.auto_precision) << text;
    EXPECT_EQ(name_of(*options.precision), name);
    set_precision(name, options);  // a name is a text
    EXPECT_EQ(options.precision, precisions) << name;
  }
}

TEST(Precision, AutoHasABound) {
  LoadOptions options;
  options.precision = kBf16;
  set_precision("auto", options);
  EXPECT_EQ(options.auto_precision, kAutoPrecisionBound);
  EXPECT_FALSE(options.precision);
  set_precision("auto:0.125", options);
  EXPECT_EQ(options.auto_precision, 0.125);
  set_precision("auto:0", options);
  EXPECT_EQ(options.auto_precision, 0.0);
}

TEST(Precision, WhatIsNoneIsRefusedInASentence) {
  const std::vector<std::pair<std::string, std::string>> refused{
      {"", "must be f32, bf16, fp8, auto, or a mix"},
      {"f8", "it is 'f8'"},
      {"FP8", "it is 'FP8'"},
      {"fp8,bf16", "it is 'fp8,bf16'"},
      {"vision=fp8", "vision does not run in fp8"},
      {"vision=fp8,prefix=fp8,expert=fp8", "vision does not run in fp8"},
      {"suffix=fp8", "there is no stage 'suffix'"},
      {"=fp8", "there is no stage ''"},
      {"prefix=f16", "got 'prefix=f16'"},
      {"prefix=auto", "got 'prefix=auto'"},
      {"prefix=", "got 'prefix='"},
      {"prefix=fp8,", "got ''"},
      {"prefix=fp8,expert", "got 'expert'"},
      {"prefix=fp8,prefix=fp8", "the stage prefix is given twice"},
      {"vision=f32", "f32 is for all"},
      {"prefix=f32,vision=f32,expert=fp8", "f32 is for all"},
      {"auto:", "it is ''"},
      {"auto:-0.1", "it is '-0.1'"},
      {"auto:1", "it is '1'"},
      {"auto:nan", "it is 'nan'"},
      {"auto:0.02x", "it is '0.02x'"},
      {"autos", "it is 'autos'"},
  };
  for (const auto& [text, part] : refused) {
    LoadOptions options;
    try {
      set_precision(text, options);
      ADD_FAILURE() << "'" << text << "' is taken";
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace saccade
