#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace saccade::io {

/// Keeps the order of fields: in LeRobot's config.json it is the order of the cameras.
using Json = nlohmann::ordered_json;

/// Parses untrusted JSON. Fails with one sentence on bad syntax, on a key that an object has
/// twice, and beyond kMaxJsonDepth levels or kMaxJsonFields fields of an object.
Json parse_json(std::string_view text, std::string_view where);
Json read_json(const std::filesystem::path&);

/// The same for one large object, sorted by key and without a limit on its fields.
nlohmann::json parse_large_json(std::string_view text, std::string_view where);

/// The text of a small file, such as JSON. Fails beyond 16 MiB.
std::string read_text(const std::filesystem::path&);

inline constexpr int kMaxJsonDepth = 32;
inline constexpr int kMaxJsonFields = 10000;

/// Text from a file, fit for a message: control characters replaced, and cut when long.
std::string printable(std::string_view text);
std::string quote(std::string_view name);  // the same in quotes

/// Whether a name out of a file can only mean a file in the same directory.
bool is_plain_file_name(std::string_view name);

/// A JSON object of a file. Reads fields with their type checked; a field that is null counts as
/// absent. Failures name the file and the field.
class Fields {
 public:
  /// `path` is what stands before the names of fields in messages, such as "steps[3].config.".
  Fields(const Json& object, std::string where, std::string path = {});

  const Json* find(const std::string& name) const;
  std::optional<std::int64_t> integer(const std::string& name, std::int64_t low,
                                      std::int64_t high) const;
  std::optional<double> number(const std::string& name) const;
  std::optional<bool> boolean(const std::string& name) const;
  std::optional<std::string> text(const std::string& name) const;
  std::optional<std::vector<std::string>> texts(const std::string& name) const;
  std::optional<Fields> object(const std::string& name) const;
  std::vector<Fields> objects(const std::string& name) const;

  const Json& json() const { return *object_; }
  const std::string& where() const { return where_; }

  [[noreturn]] void fail(const std::string& name, std::string_view expectation) const;

 private:
  const Json* object_;
  std::string where_;
  std::string path_;
};

}  // namespace saccade::io
