#include "server/access.h"

#include <cstddef>

#include "core/check.h"
#include "io/json.h"

namespace saccade::server {
namespace {

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t j = i; j < i + 3; ++j) {
      group = group << 8 | (j < bytes.size() ? static_cast<unsigned char>(bytes[j]) : 0u);
    }
    for (int shift = 18; shift >= 0; shift -= 6) text.push_back(kDigits[group >> shift & 63]);
  }
  const std::size_t padding = (3 - bytes.size() % 3) % 3;
  return text.replace(text.size() - padding, padding, padding, '=');
}

/// Looks at every character of `given`, wherever the first difference is.
bool equal_in_constant_time(std::string_view given, std::string_view secret) {
  unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned char>(given[i] ^ secret[i % secret.size()]);
  }
  return difference == 0;
}

}  // namespace

Access::Access(std::string_view key) {
  if (key.empty()) return;
  api_key_ = "Api-Key " + std::string(key);
  basic_ = "Basic " + base64(":" + std::string(key));
}

bool Access::allows(std::string_view authorization) const {
  if (is_open()) return true;
  const bool by_key = equal_in_constant_time(authorization, api_key_);
  const bool by_password = equal_in_constant_time(authorization, basic_);
  return by_key || by_password;
}

std::string check_api_key(std::string_view key, std::string_view where) {
  while (!key.empty() && (key.back() == '\n' || key.back() == '\r')) key.remove_suffix(1);
  SACCADE_CHECK(!key.empty(), where, "the API key is empty");
  for (char c : key) {
    SACCADE_CHECK(c > ' ' && c < 0x7f, where,
                  "the API key must be one line of printable ASCII without spaces");
  }
  return std::string(key);
}

std::string read_api_key(const std::filesystem::path& file) {
  return check_api_key(io::read_text(file), file.string());
}

}  // namespace saccade::server
