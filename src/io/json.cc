#include "io/json.h"

#include <fstream>
#include <iterator>
#include <set>

#include "core/check.h"

namespace saccade::io {
namespace {

constexpr std::uintmax_t kMaxTextFile = 16 << 20;
constexpr std::size_t kMaxPrinted = 160;

/// The library keeps one of two equal keys without a word, so the keys are watched as they come.
template <typename J>
J parse(std::string_view text, std::string_view where, std::size_t max_fields) {
  using Event = typename J::parse_event_t;
  std::vector<std::set<std::string>> open;
  auto watch = [&](int depth, Event event, J& value) {
    SACCADE_CHECK(depth < kMaxJsonDepth, where, "the JSON is nested deeper than ", kMaxJsonDepth,
                  " levels");
    if (event == Event::object_start) open.emplace_back();
    if (event == Event::object_end) open.pop_back();
    if (event == Event::key) {
      const auto& key = value.template get_ref<const std::string&>();
      SACCADE_CHECK(open.back().insert(key).second, where, "the key ", quote(key),
                    " is there twice");
      SACCADE_CHECK(open.back().size() <= max_fields, where, "a JSON object has more than ",
                    max_fields, " fields");
    }
    return true;
  };
  try {
    return J::parse(text.begin(), text.end(), watch);
  } catch (const nlohmann::json::parse_error& error) {
    fail(where, "this is not valid JSON, see byte ", error.byte);
  } catch (const nlohmann::json::exception&) {
    fail(where, "the JSON holds a number that is out of range");
  }
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  return parse<Json>(text, where, kMaxJsonFields);
}

nlohmann::json parse_large_json(std::string_view text, std::string_view where) {
  return parse<nlohmann::json>(text, where, SIZE_MAX);
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(read_text(path), path.string());
}

std::string read_text(const std::filesystem::path& path) {
  const std::string where = path.string();
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  SACCADE_CHECK(!error, where, "the file could not be read: ", error.message());
  SACCADE_CHECK(bytes <= kMaxTextFile, where, "the file may have at most ", kMaxTextFile,
                " bytes, it has ", bytes);
  std::ifstream file(path, std::ios::binary);
  SACCADE_CHECK(file.good(), where, "the file could not be opened");
  return {std::istreambuf_iterator<char>(file), {}};
}

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

std::string printable(std::string_view text) {
  std::size_t length = text.size();
  if (length > kMaxPrinted) {
    length = kMaxPrinted;
    while (length > 0 && (text[length] & 0xc0) == 0x80) --length;  // not inside a character
  }
  std::string clean(text.substr(0, length));
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return length < text.size() ? clean + "..." : clean;
}

std::string quote(std::string_view name) { return '\'' + printable(name) + '\''; }

Fields::Fields(const Json& object, std::string where, std::string path)
    : object_(&object), where_(std::move(where)), path_(std::move(path)) {
  SACCADE_CHECK(object.is_object(), where_,
                path_.empty() ? "the file" : printable(path_.substr(0, path_.size() - 1)),
                " must hold a JSON object, got ", object.type_name());
}

void Fields::fail(const std::string& name, std::string_view expectation) const {
  const std::string given = object_->contains(name) ? object_->at(name).dump() : "nothing";
  saccade::fail(where_, printable(path_ + name), " must be ", expectation, ", got ",
                printable(given));
}

const Json* Fields::find(const std::string& name) const {
  const auto field = object_->find(name);
  return field == object_->end() || field->is_null() ? nullptr : &*field;
}

std::optional<std::int64_t> Fields::integer(const std::string& name, std::int64_t low,
                                            std::int64_t high) const {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  const bool fits = field->is_number_unsigned()
                        ? field->get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX)
                        : field->is_number_integer();
  const std::int64_t value = fits ? field->get<std::int64_t>() : 0;
  if (!fits || value < low || value > high) {
    fail(name, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

std::optional<double> Fields::number(const std::string& name) const {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  if (!field->is_number()) fail(name, "a number");
  return field->get<double>();
}

std::optional<bool> Fields::boolean(const std::string& name) const {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  if (!field->is_boolean()) fail(name, "true or false");
  return field->get<bool>();
}

std::optional<std::string> Fields::text(const std::string& name) const {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  if (!field->is_string()) fail(name, "a string");
  return field->get<std::string>();
}

std::optional<std::vector<std::string>> Fields::texts(const std::string& name) const {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  if (!field->is_array()) fail(name, "a list of strings");
  std::vector<std::string> values;
  for (const Json& value : *field) {
    if (!value.is_string()) fail(name, "a list of strings");
    values.push_back(value.get<std::string>());
  }
  return values;
}

std::optional<Fields> Fields::object(const std::string& name) const {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  return Fields(*field, where_, path_ + name + '.');
}

std::vector<Fields> Fields::objects(const std::string& name) const {
  const Json* field = find(name);
  if (!field) return {};
  if (!field->is_array()) fail(name, "a list of objects");
  std::vector<Fields> values;
  for (std::size_t i = 0; i < field->size(); ++i) {
    values.emplace_back((*field)[i], where_, path_ + name + '[' + std::to_string(i) + "].");
  }
  return values;
}

}  // namespace saccade::io
