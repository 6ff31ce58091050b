#include "runtime/prompt.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace saccade {
namespace {

nlohmann::json golden(const char* file) {
  return nlohmann::json::parse(std::ifstream(std::string(SACCADE_GOLDEN "/perception/") + file));
}

io::Tokenizer tiny_tokenizer() {
  return io::Tokenizer(SACCADE_GOLDEN "/perception/tiny_tokenizer.model");
}

TEST(Prompt, EqualsTheReferencesTokens) {
  const io::Tokenizer tokenizer = tiny_tokenizer();
  const std::map<std::string, PromptForm> forms{{"openpi_pi0", PromptForm::kOpenpiPi0},
                                                {"lerobot_pi0", PromptForm::kLerobotPi0},
                                                {"state_in_text", PromptForm::kStateInText}};
  int cut = 0;
  const nlohmann::json all = golden("prompts.json");
  for (const auto& want : all) {
    SCOPED_TRACE(want.dump());
    const PromptForm form = forms.at(want["form"]);
    const std::string prompt = want["prompt"];
    const std::vector<double> state = want["state"];
    EXPECT_EQ(prompt_text(form, prompt, state), want["text"].get<std::string>());
    const Prompt got = make_prompt(tokenizer, form, prompt, state, want["max_tokens"]);
    EXPECT_EQ(got.tokens, want["tokens"].get<std::vector<int>>());
    EXPECT_EQ(got.full_length, want["full_length"]);
    EXPECT_EQ(got.cut, want["full_length"] > want["max_tokens"]);
    cut += got.cut;
  }
  EXPECT_EQ(cut, 10);
}

TEST(Prompt, BinsTheStateAsNumpyDoes) {
  std::vector<double> values;
  std::vector<int> bins;
  const nlohmann::json all = golden("bins.json");
  for (const auto& pair : all) {
    values.push_back(pair[0]);
    bins.push_back(pair[1]);
  }
  ASSERT_EQ(values.size(), 257u * 3 + 7);
  EXPECT_EQ(discretize_state(values), bins);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(discretize_state(std::vector{-kInfinity, kInfinity, kNan, -kNan}),
            (std::vector{-1, 255, 255, 255}));
}

TEST(Prompt, RefusesWhatIsNotUtf8) {
  const io::Tokenizer tokenizer = tiny_tokenizer();
  const std::vector<std::string> bad{"\xff",
                                     "\x80",
                                     "\xc3",
                                     "\xc0\x80",
                                     "\xc1\xbf",
                                     "\xe2\x82",
                                     "\xe0\x9f\xbf",
                                     "\xed\xa0\x80",
                                     "\xf0\x9f\xa4",
                                     "\xf0\x8f\xbf\xbf",
                                     "\xf4\x90\x80\x80",
                                     "\xf5\x80\x80\x80",
                                     "\xc3(",
                                     "\xe2\x82\xac\xe2("};
  for (const std::string& bytes : bad) {
    for (auto form : {PromptForm::kOpenpiPi0, PromptForm::kLerobotPi0, PromptForm::kStateInText}) {
      try {
        make_prompt(tokenizer, form, "ab" + bytes, {}, 48);
        FAIL() << ::testing::PrintToString(bytes);
      } catch (const InvalidArgument& e) {
        const std::string byte = bytes.size() == 5 ? "5" : "2";
        EXPECT_EQ(e.what(), "[prompt] the prompt must be UTF-8, byte " + byte + " is not");
      }
    }
  }
  const std::vector<std::string> good{"\x7f",         "\xc2\x80",         "\xdf\xbf",
                                      "\xe0\xa0\x80", "\xed\x9f\xbf",     "\xee\x80\x80",
                                      "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
  for (const std::string& bytes : good) {
    EXPECT_EQ(prompt_text(PromptForm::kLerobotPi0, bytes, {}), bytes + "\n");
  }
}

TEST(Prompt, NeedsRoomForAToken) {
  EXPECT_THROW(make_prompt(tiny_tokenizer(), PromptForm::kOpenpiPi0, "x", {}, 0), InvalidArgument);
}

}  // namespace
}  // namespace saccade
