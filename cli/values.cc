#include "values.h"

#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/check.h"

namespace saccade::cli {
namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;
constexpr std::size_t kShownCharacters = 40;

std::string shown(std::string_view text) {
  std::string result = "'" + std::string(text.substr(0, kShownCharacters)) +
                       (text.size() > kShownCharacters ? "...'" : "'");
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return result;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

/// The text itself, or what the file "@name" holds.
std::string expand(const std::string& text, std::string_view option) {
  if (!text.starts_with('@')) return text;
  const std::string name = text.substr(1);
  std::ifstream file(name, std::ios::binary);
  std::string content(kMaxFileBytes + 1, '\0');
  file.read(content.data(), static_cast<std::streamsize>(content.size()));
  SACCADE_CHECK(file.eof(), option,
                file.gcount() > 0 ? "holds more than 1 MiB: " : "cannot read the file ", name);
  content.resize(static_cast<std::size_t>(file.gcount()));
  return content;
}

double parse_number(std::string_view word, std::string_view option) {
  const std::string_view digits = word.starts_with('+') ? word.substr(1) : word;
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  SACCADE_CHECK(error == std::errc() && end == digits.data() + digits.size(), option, shown(word),
                " is not a number");
  SACCADE_CHECK(std::isfinite(value), option, "values must be finite, got ", shown(word));
  return value;
}

std::vector<double> parse_array(const std::string& text, std::string_view option) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  SACCADE_CHECK(json.is_array(), option, shown(text), " is not a JSON array of numbers");
  std::vector<double> values;
  for (const auto& value : json) {
    SACCADE_CHECK(value.is_number(), option, shown(value.dump()), " is not a number");
    values.push_back(value.get<double>());
    SACCADE_CHECK(std::isfinite(values.back()), option, "values must be finite, got ",
                  shown(value.dump()));
  }
  return values;
}

}  // namespace

std::vector<double> parse_numbers(const std::string& text, std::string_view option) {
  const std::string content = expand(text, option);
  std::string_view rest = trimmed(content);
  SACCADE_CHECK(!rest.empty(), option, "needs numbers, such as 0.1,0.2, got nothing");
  if (rest.starts_with('[')) return parse_array(std::string(rest), option);
  std::vector<double> values;
  for (;;) {
    const auto comma = rest.find(',');
    values.push_back(parse_number(trimmed(rest.substr(0, comma)), option));
    if (comma == std::string_view::npos) return values;
    rest.remove_prefix(comma + 1);
  }
}

std::vector<int> parse_integers(const std::string& text, std::string_view option) {
  std::vector<int> values;
  for (const double value : parse_numbers(text, option)) {
    SACCADE_CHECK(value == std::floor(value) && std::abs(value) <= std::numeric_limits<int>::max(),
                  option, value, " is not a whole number");
    values.push_back(static_cast<int>(value));
  }
  return values;
}

int parse_whole(std::string_view part, std::string_view option, std::string_view must_be,
                const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
  SACCADE_CHECK(error == std::errc{} && end == part.data() + part.size(), option, "must be ",
                must_be, ", got ", text);
  return value;
}

std::pair<std::string, std::string> parse_assignment(const std::string& text,
                                                     std::string_view option) {
  const auto equals = text.find('=');
  SACCADE_CHECK(equals != std::string::npos && equals > 0 && equals + 1 < text.size(), option,
                "must be name=file, got ", shown(text));
  return {text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace saccade::cli
