#include "server/value.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <sstream>

#include "core/check.h"
#include "core/f16.h"
#include "io/json.h"

namespace saccade::server {
namespace {

constexpr auto kWhere = "observation";

/// The bytes of an element as an unsigned integer of its size.
template <typename T>
T bits_at(const NdArray& array, std::size_t i) {
  T bits;
  std::memcpy(&bits, array.data.data() + i * sizeof(T), sizeof(T));
  if (array.dtype.big_endian) {
    auto* bytes = reinterpret_cast<std::byte*>(&bits);
    std::reverse(bytes, bytes + sizeof(T));
  }
  return bits;
}

template <typename Unsigned>
double integer_at(const NdArray& array, std::size_t i) {
  const Unsigned bits = bits_at<Unsigned>(array, i);
  return array.dtype.kind == 'i' ? double(std::make_signed_t<Unsigned>(bits)) : double(bits);
}

bool is_numeric(const NumpyType& dtype) {
  return std::string_view("biuf").find(dtype.kind) != std::string_view::npos;
}

double number_at(const NdArray& array, std::size_t i) {
  if (array.dtype.kind == 'f') return float_at(array, i);
  switch (array.dtype.item_bytes) {
    case 1:
      return integer_at<std::uint8_t>(array, i);
    case 2:
      return integer_at<std::uint16_t>(array, i);
    case 4:
      return integer_at<std::uint32_t>(array, i);
    default:
      return integer_at<std::uint64_t>(array, i);
  }
}

std::optional<double> scalar(const Value& value) {
  if (const auto* number = value.as<double>()) return *number;
  if (const auto* boolean = value.as<bool>()) return *boolean ? 1 : 0;
  if (const auto* number = value.as<std::int64_t>()) return double(*number);
  if (const auto* number = value.as<std::uint64_t>()) return double(*number);
  return std::nullopt;
}

[[noreturn]] void refuse(std::string_view key, const char* wanted, const Value& value) {
  fail(kWhere, io::quote(key), " must be ", wanted, ", it is ", describe(value));
}

void append_utf8(char32_t c, std::string& text) {
  const auto tail = [&](int shift) { text.push_back(char(0x80 | (c >> shift & 0x3f))); };
  if (c < 0x80) {
    text.push_back(char(c));
  } else if (c < 0x800) {
    text.push_back(char(0xc0 | c >> 6));
    tail(0);
  } else if (c < 0x10000) {
    text.push_back(char(0xe0 | c >> 12));
    tail(6);
    tail(0);
  } else {
    text.push_back(char(0xf0 | c >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

/// Bytes of the code point that a valid sequence of UTF-8 starts with, or 0.
std::size_t valid_sequence(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  char32_t c = lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xc0) != 0x80) return 0;
    c = c << 6 | (byte & 0x3fu);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = c >= 0xd800 && c < 0xe000;
  return c < kSmallest[length] || c > 0x10ffff || surrogate ? 0 : length;
}

/// The one string of an array of fixed-length strings, which NumPy pads with zeros.
std::string string_of(const NdArray& array, std::string_view key) {
  std::string text;
  if (array.dtype.kind == 'U') {
    for (std::size_t i = 0; i < array.dtype.item_bytes / 4; ++i) {
      const char32_t c = bits_at<std::uint32_t>(array, i);
      SACCADE_CHECK(c <= 0x10ffff && (c < 0xd800 || c >= 0xe000), kWhere, io::quote(key),
                    " is not valid Unicode");
      append_utf8(c, text);
    }
  } else {
    text.assign(reinterpret_cast<const char*>(array.data.data()), array.dtype.item_bytes);
  }
  const std::size_t end = text.find_last_not_of('\0');
  text.resize(end == std::string::npos ? 0 : end + 1);
  return text;
}

}  // namespace

std::size_t NdArray::size() const {
  std::size_t size = 1;
  for (std::size_t extent : shape) size *= extent;
  return size;
}

const Value* find(const Map& map, std::string_view key) {
  for (const auto& [name, value] : map) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string describe(const Value& value) {
  constexpr const char* kNames[] = {"nothing", "a boolean", "a number", "a number", "a number",
                                    "text",    "bytes",     "a list",   "a map",    "an array"};
  const auto* array = value.as<NdArray>();
  if (array == nullptr) return kNames[value.data.index()];
  std::ostringstream text;
  const bool wide = array->dtype.kind == 'U';
  text << "an array " << array->dtype.kind << array->dtype.item_bytes / (wide ? 4 : 1) << " (";
  for (std::size_t i = 0; i < array->shape.size(); ++i)
    text << (i > 0 ? ", " : "") << array->shape[i];
  text << (array->shape.size() == 1 ? ",)" : ")");
  return text.str();
}

double float_at(const NdArray& array, std::size_t i) {
  switch (array.dtype.item_bytes) {
    case 2:
      return to_float(f16{bits_at<std::uint16_t>(array, i)});
    case 4:
      return std::bit_cast<float>(bits_at<std::uint32_t>(array, i));
    default:
      return std::bit_cast<double>(bits_at<std::uint64_t>(array, i));
  }
}

std::vector<double> finite_numbers(const Value& value, std::string_view key) {
  constexpr auto kWanted = "numbers with one axis";
  std::vector<double> numbers;
  if (const auto* array = value.as<NdArray>()) {
    if (!is_numeric(array->dtype) || array->shape.size() > 1) refuse(key, kWanted, value);
    for (std::size_t i = 0; i < array->size(); ++i) numbers.push_back(number_at(*array, i));
  } else if (const auto* list = value.as<List>()) {
    for (const Value& item : *list) {
      const auto number = scalar(item);
      SACCADE_CHECK(number, kWhere, io::quote(key), " must be ", kWanted, ", it holds ",
                    describe(item));
      numbers.push_back(*number);
    }
  } else if (const auto number = scalar(value)) {
    numbers.push_back(*number);
  } else {
    refuse(key, kWanted, value);
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    SACCADE_CHECK(std::isfinite(numbers[i]), kWhere, io::quote(key), " has a value that is ",
                  std::isnan(numbers[i]) ? "NaN" : "infinite", " at index ", i);
  }
  return numbers;
}

std::string valid_utf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const std::size_t length = valid_sequence(text);
    valid += length > 0 ? text.substr(0, length) : "?";
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return valid;
}

std::string utf8_text(const Value& value, std::string_view key) {
  std::string text;
  const auto* array = value.as<NdArray>();
  if (const auto* string = value.as<std::string_view>()) {
    text = *string;
  } else if (const auto* bytes = value.as<Bytes>()) {
    text.assign(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  } else if (array != nullptr && !is_numeric(array->dtype) && array->size() == 1) {
    text = string_of(*array, key);
  } else {
    refuse(key, "text", value);
  }
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t length = valid_sequence(rest);
    SACCADE_CHECK(length > 0, kWhere, io::quote(key), " is not valid UTF-8");
    rest.remove_prefix(length);
  }
  return text;
}

}  // namespace saccade::server
