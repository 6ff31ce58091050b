#include "server/log.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "server/value.h"

namespace saccade::server {
namespace {

/// In quotes where a reader could not tell where it ends. Control characters become spaces, so that
/// no client writes lines of its own.
std::string word(std::string_view given) {
  std::string text = valid_utf8(given);
  bool plain = !text.empty();
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    if (c == '"') c = '\'';
    plain = plain && c != ' ' && c != '=' && c != '\'';
  }
  return plain ? text : '"' + text + '"';
}

}  // namespace

std::string utc_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::time_t seconds = ms / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 32> date{};
  std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%s.%03dZ", date.data(), int(ms % 1000));
  return text.data();
}

std::string format_line(std::string_view level, std::string_view event,
                        std::initializer_list<LogField> fields) {
  std::ostringstream line;
  line << level << ' ' << event;
  for (const LogField& field : fields) line << ' ' << field.name << '=' << word(field.text);
  return line.str();
}

void log_line(std::string_view level, std::string_view event,
              std::initializer_list<LogField> fields) {
  const std::string line = utc_now() + ' ' + format_line(level, event, fields) + '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace saccade::server
