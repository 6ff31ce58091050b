#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace saccade::server {

/// NumPy's own words for the type of an element: '<f4' is {'f', 4, false}.
struct NumpyType {
  char kind = 0;               // b, i, u, f, U or S
  std::size_t item_bytes = 0;  // of one element
  bool big_endian = false;
};

struct Value;
struct Entry;

/// Elements in C order.
struct NdArray {
  NumpyType dtype;
  std::vector<std::size_t> shape;  // empty: a single element
  std::span<const std::byte> data;

  std::size_t size() const;  // elements
};

using Bytes = std::span<const std::byte>;
using List = std::vector<Value>;

/// Keys are unique. Those that were bytes and those that were text are not told apart.
using Map = std::vector<Entry>;

/// A decoded msgpack value. Text, bytes and arrays point into the message.
struct Value {
  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string_view, Bytes,
               List, Map, NdArray>
      data;

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&data);
  }
};

struct Entry {
  std::string_view key;
  Value value;
};

/// The value of a key, or null.
const Value* find(const Map&, std::string_view key);

/// What a value is, for messages: "text", "an array f4 (3, 224, 224)".
std::string describe(const Value&);

/// All numbers of an array with at most one axis, a list or a scalar. Fails, naming `key`, on
/// anything else and on numbers that are not finite.
std::vector<double> finite_numbers(const Value&, std::string_view key);

/// The text of a string, of UTF-8 bytes, or of an array with one string. Fails, naming `key`.
std::string utf8_text(const Value&, std::string_view key);

/// The same text with a question mark for every byte that is not UTF-8, as a text message must be.
std::string valid_utf8(std::string_view text);

/// Element i of a floating-point array as NumPy would widen it.
double float_at(const NdArray&, std::size_t i);

}  // namespace saccade::server
