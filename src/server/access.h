#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace saccade::server {

/// Who may use the server: everybody, or who shows a key in the header Authorization, as
/// "Api-Key KEY" or, for browsers, as "Basic ..." with KEY as the password of an empty user.
class Access {
 public:
  /// An empty key lets everybody in.
  explicit Access(std::string_view key);

  bool is_open() const { return api_key_.empty(); }

  /// Takes as long for every header of a length.
  bool allows(std::string_view authorization) const;

 private:
  std::string api_key_;  // whole headers
  std::string basic_;
};

/// The key in a file, without the newline at its end. Fails unless it is one line of printable
/// ASCII.
std::string read_api_key(const std::filesystem::path&);

/// The same of a key that came from elsewhere, such as an environment variable.
std::string check_api_key(std::string_view key, std::string_view where);

}  // namespace saccade::server
