#include "runtime/prompt.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/check.h"

namespace saccade {
namespace {

constexpr auto kWhere = "prompt";

/// Reads the code point at `position`, moves behind it, and fails unless it is valid UTF-8.
char32_t next_code_point(std::string_view text, std::size_t& position) {
  const std::size_t start = position;
  const auto byte = [&](std::size_t i) -> std::uint8_t {
    return i < text.size() ? std::uint8_t(text[i]) : 0;
  };
  const std::uint8_t lead = byte(position++);
  if (lead < 0x80) return lead;
  const int followers = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
  char32_t code = lead & (0x3f >> followers);
  bool is_valid = lead >= 0xc2 && lead <= 0xf4;
  for (int i = 0; i < followers && is_valid; ++i) {
    const std::uint8_t follower = byte(position++);
    is_valid = (follower & 0xc0) == 0x80;
    code = code << 6 | (follower & 0x3f);
  }
  constexpr char32_t kSmallest[]{0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
  SACCADE_CHECK(is_valid && code >= kSmallest[followers - 1] && code <= 0x10ffff && !is_surrogate,
                kWhere, "the prompt must be UTF-8, byte ", start, " is not");
  return code;
}

/// What Python's str.strip() takes away.
bool is_python_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

/// text.strip().replace("_", " ").replace("\n", " "), as both references clean a prompt.
std::string cleaned(std::string_view text) {
  std::size_t first = text.size();
  std::size_t end = 0;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t start = position;
    if (is_python_space(next_code_point(text, position))) continue;
    first = std::min(first, start);
    end = position;
  }
  if (end == 0) return {};
  std::string clean(text.substr(first, end - first));
  std::replace(clean.begin(), clean.end(), '_', ' ');
  std::replace(clean.begin(), clean.end(), '\n', ' ');
  return clean;
}

void check_utf8(std::string_view text) {
  for (std::size_t position = 0; position < text.size();) next_code_point(text, position);
}

}  // namespace

std::vector<int> discretize_state(std::span<const double> normalized_state) {
  std::vector<int> bins;
  for (double value : normalized_state) {
    // x * 128 is exact where x + 1 rounds, so that a value one ulp below an edge stays below it.
    // numpy sorts NaN behind all edges, as this order of the comparisons does.
    if (!(value < 1)) {
      bins.push_back(255);
    } else {
      bins.push_back(value < -1 ? -1 : int(std::floor(value * 128)) + 128);
    }
  }
  return bins;
}

std::string prompt_text(PromptForm form, std::string_view prompt,
                        std::span<const double> normalized_state) {
  check_utf8(prompt);
  switch (form) {
    case PromptForm::kOpenpiPi0:
      return cleaned(prompt);
    case PromptForm::kLerobotPi0:
      return std::string(prompt) + (prompt.ends_with('\n') ? "" : "\n");
    case PromptForm::kStateInText:
      break;
  }
  std::string text = "Task: " + cleaned(prompt) + ", State: ";
  const char* separator = "";
  for (int bin : discretize_state(normalized_state)) {
    text += separator + std::to_string(bin);
    separator = " ";
  }
  return text + ";\nAction: ";
}

Prompt make_prompt(const io::Tokenizer& tokenizer, PromptForm form, std::string_view prompt,
                   std::span<const double> normalized_state, int max_tokens) {
  SACCADE_CHECK(max_tokens > 0, kWhere, "at least one token must be allowed, got ", max_tokens);
  Prompt result;
  result.tokens = tokenizer.encode(prompt_text(form, prompt, normalized_state), true);
  if (form == PromptForm::kOpenpiPi0) {
    const std::vector<int> newline = tokenizer.encode("\n", false);
    result.tokens.insert(result.tokens.end(), newline.begin(), newline.end());
  }
  result.full_length = int(result.tokens.size());
  result.cut = result.full_length > max_tokens;
  if (result.cut) result.tokens.resize(std::size_t(max_tokens));
  return result;
}

}  // namespace saccade
