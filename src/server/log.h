#pragma once

#include <initializer_list>
#include <sstream>
#include <string>
#include <string_view>

namespace saccade::server {

/// One field of a line: name=value. Values with spaces are quoted.
struct LogField {
  template <typename T>
  LogField(std::string_view name, const T& value) : name(name) {
    std::ostringstream stream;
    stream << value;
    text = stream.str();
  }
  std::string_view name;
  std::string text;
};

/// Writes one line to the standard error, such as
/// 2026-10-07T12:00:00.123Z info opened connection=3 peer=127.0.0.1:40112
/// Any thread may.
void log_line(std::string_view level, std::string_view event, std::initializer_list<LogField>);

/// 2026-10-07T12:00:00.123Z
std::string utc_now();

/// The line without its time, for tests.
std::string format_line(std::string_view level, std::string_view event,
                        std::initializer_list<LogField>);

}  // namespace saccade::server
