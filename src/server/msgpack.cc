#include "server/msgpack.h"

#define MSGPACK_NO_BOOST
#include <cmath>
#include <msgpack.hpp>
#include <optional>

#include "core/check.h"
#include "io/json.h"

namespace saccade::server {
namespace {

constexpr auto kWhere = "message";

/// A field of an array or of a scalar, such as its dtype.
const Value& field(const Map& map, const char* what, const char* name) {
  const Value* value = find(map, name);
  SACCADE_CHECK(value != nullptr, kWhere, what, " has no ", name);
  return *value;
}

bool is_supported(const NumpyType& dtype, std::size_t count) {
  const bool power = count == 1 || count == 2 || count == 4 || count == 8;
  switch (dtype.kind) {
    case 'b':
      return count == 1;
    case 'i':
    case 'u':
      return power;
    case 'f':
      return power && count > 1;
    default:
      return dtype.kind == 'U' || dtype.kind == 'S';
  }
}

/// A dtype such as "<f4", "|u1" or "<U12", whose count is of bytes or of characters.
NumpyType parse_dtype(const Value& value) {
  constexpr std::size_t kMaxDigits = 7;
  const auto* text = value.as<std::string_view>();
  SACCADE_CHECK(text != nullptr, kWhere, "a dtype must be text, it is ", describe(value));
  NumpyType dtype;
  std::size_t count = 0;
  bool good = text->size() >= 3 && text->size() <= 2 + kMaxDigits &&
              std::string_view("<>|").find((*text)[0]) != std::string_view::npos;
  for (std::size_t i = 2; good && i < text->size(); ++i) {
    good = (*text)[i] >= '0' && (*text)[i] <= '9';
    count = count * 10 + std::size_t((*text)[i] - '0');
  }
  if (good) {
    dtype.kind = (*text)[1];
    dtype.big_endian = (*text)[0] == '>';
    dtype.item_bytes = dtype.kind == 'U' ? 4 * count : count;
    good = is_supported(dtype, count);
  }
  SACCADE_CHECK(good, kWhere, "the dtype ", io::quote(*text), " is not supported");
  return dtype;
}

Value parse_array(const Map& map) {
  constexpr auto kWhat = "an array";
  const auto* shape = field(map, kWhat, "shape").as<List>();
  SACCADE_CHECK(shape != nullptr && shape->size() <= kMaxAxes, kWhere,
                "an array's shape must be a list of at most ", kMaxAxes, " extents");
  NdArray array;
  array.dtype = parse_dtype(field(map, kWhat, "dtype"));
  const Value& data = field(map, kWhat, "data");
  const auto* bytes = data.as<Bytes>();
  SACCADE_CHECK(bytes != nullptr, kWhere, "an array's data must be bytes, it is ", describe(data));
  array.data = *bytes;
  // No product overflows: every factor is at most kMaxExtent, and the product so far is checked.
  constexpr std::uint64_t kMaxExtent = std::uint64_t{1} << 31;
  std::uint64_t size = 1;
  bool good = true;
  for (const Value& extent : *shape) {
    const auto* value = extent.as<std::uint64_t>();
    good = good && value != nullptr && *value <= kMaxExtent;
    if (!good) break;
    array.shape.push_back(std::size_t(*value));
    size *= *value;
    good = size <= kMaxExtent;
  }
  SACCADE_CHECK(good, kWhere, "an array's shape has an extent that is no count, or is too large");
  SACCADE_CHECK(size * array.dtype.item_bytes == bytes->size(), kWhere, describe({array}), " has ",
                bytes->size(), " bytes of data");
  return {std::move(array)};
}

/// NumPy's scalars carry a plain one.
Value parse_scalar(const Map& map) {
  parse_dtype(field(map, "a NumPy scalar", "dtype"));
  const Value& data = field(map, "a NumPy scalar", "data");
  const bool compound = data.as<List>() || data.as<Map>() || data.as<NdArray>();
  SACCADE_CHECK(!compound, kWhere, "a NumPy scalar holds ", describe(data));
  return data;
}

/// What msgpack-cxx's parser calls. Throws to stop it.
class Builder : public msgpack::null_visitor {
 public:
  bool visit_nil() { return add({}); }
  bool visit_boolean(bool v) { return add({v}); }
  bool visit_positive_integer(std::uint64_t v) { return add({v}); }
  bool visit_negative_integer(std::int64_t v) { return add({v}); }
  bool visit_float32(float v) { return add({double(v)}); }
  bool visit_float64(double v) { return add({v}); }
  bool visit_str(const char* v, std::uint32_t size) { return add({std::string_view(v, size)}); }
  bool visit_bin(const char* v, std::uint32_t size) {
    return add({Bytes(reinterpret_cast<const std::byte*>(v), size)});
  }
  bool visit_ext(const char*, std::uint32_t) {
    fail(kWhere, "msgpack extension types are not supported");
  }
  bool start_array(std::uint32_t items) { return open(items, List()); }
  bool start_map(std::uint32_t items) {
    SACCADE_CHECK(items <= kMaxMapKeys, kWhere, "a map has ", items, " keys, at most ", kMaxMapKeys,
                  " are taken");
    return open(items, Map());
  }
  bool end_array() { return close(); }
  bool end_map() { return close(); }

  Value take() { return std::move(result_); }

 private:
  /// A list or map that is not complete yet, and the key that waits for its value.
  struct Level {
    Value container;
    std::optional<std::string_view> key;
  };

  template <typename Container>
  bool open(std::uint32_t items, Container container) {
    values_ += items;
    SACCADE_CHECK(values_ <= kMaxValues, kWhere, "lists and maps hold more than ", kMaxValues,
                  " values");
    SACCADE_CHECK(levels_.size() < kMaxDepth, kWhere, "lists and maps are more than ", kMaxDepth,
                  " levels deep");
    container.reserve(items);
    levels_.push_back({{std::move(container)}, {}});
    return true;
  }

  bool close() {
    Value value = std::move(levels_.back().container);
    levels_.pop_back();
    if (const auto* map = value.as<Map>()) {
      if (find(*map, "__ndarray__") != nullptr) return add(parse_array(*map));
      if (find(*map, "__npgeneric__") != nullptr) return add(parse_scalar(*map));
    }
    return add(std::move(value));
  }

  bool add(Value value) {
    if (levels_.empty()) {
      result_ = std::move(value);
    } else if (auto* list = std::get_if<List>(&levels_.back().container.data)) {
      list->push_back(std::move(value));
    } else {
      add_to_map(levels_.back(), std::move(value));
    }
    return true;
  }

  static void add_to_map(Level& level, Value value) {
    auto& map = std::get<Map>(level.container.data);
    if (level.key) {
      map.push_back({*level.key, std::move(value)});
      level.key.reset();
      return;
    }
    if (const auto* text = value.as<std::string_view>()) level.key = *text;
    if (const auto* bytes = value.as<Bytes>()) {
      level.key.emplace(reinterpret_cast<const char*>(bytes->data()), bytes->size());
    }
    SACCADE_CHECK(level.key, kWhere, "a key must be text or bytes, it is ", describe(value));
    SACCADE_CHECK(find(map, *level.key) == nullptr, kWhere, "the key ", io::quote(*level.key),
                  " is there twice");
  }

  std::vector<Level> levels_;
  std::uint64_t values_ = 0;
  Value result_;
};

/// Appends to a string.
struct Sink {
  void write(const char* data, std::size_t size) { text.append(data, size); }
  std::string text;
};

using Packer = msgpack::packer<Sink>;

void pack_text(Packer& packer, std::string_view text) {
  packer.pack_str(std::uint32_t(text.size())).pack_str_body(text.data(), text.size());
}

void pack_bytes(Packer& packer, std::string_view bytes) {
  packer.pack_bin(std::uint32_t(bytes.size())).pack_bin_body(bytes.data(), bytes.size());
}

void pack_actions(Packer& packer, const ActionChunk& chunk) {
  packer.pack_map(4);
  pack_bytes(packer, "__ndarray__");
  packer.pack_true();
  pack_bytes(packer, "data");
  const std::vector<double> wide(chunk.values.begin(), chunk.values.end());
  pack_bytes(packer,
             {reinterpret_cast<const char*>(wide.data()), wide.size() * sizeof(wide.front())});
  pack_bytes(packer, "dtype");
  pack_text(packer, "<f8");
  pack_bytes(packer, "shape");
  packer.pack_array(2).pack(chunk.actions).pack(chunk.action_dim);
}

}  // namespace

Value decode_message(Bytes message) {
  const auto* data = reinterpret_cast<const char*>(message.data());
  Builder builder;
  std::size_t end = 0;
  SACCADE_CHECK(msgpack::parse(data, message.size(), end, builder), kWhere,
                "this is no msgpack, or it is cut short: ", message.size(), " bytes");
  SACCADE_CHECK(end == message.size(), kWhere, "there are ", message.size() - end,
                " bytes after the value");
  return builder.take();
}

std::string encode_reply(const ActionChunk& chunk, const Timing& timing) {
  Sink sink;
  Packer packer(sink);
  packer.pack_map(3);
  pack_text(packer, "actions");
  pack_actions(packer, chunk);
  pack_text(packer, "policy_timing");
  packer.pack_map(1);
  pack_text(packer, "infer_ms");
  packer.pack_double(timing.policy_ms);
  pack_text(packer, "server_timing");
  packer.pack_map(timing.previous_total_ms ? 2 : 1);
  pack_text(packer, "infer_ms");
  packer.pack_double(timing.infer_ms);
  if (timing.previous_total_ms) {
    pack_text(packer, "prev_total_ms");
    packer.pack_double(*timing.previous_total_ms);
  }
  return std::move(sink.text);
}

std::string encode_metadata(const std::vector<double>& reset_pose) {
  Sink sink;
  Packer packer(sink);
  packer.pack_map(reset_pose.empty() ? 0 : 1);
  if (!reset_pose.empty()) {
    pack_text(packer, "reset_pose");
    packer.pack_array(std::uint32_t(reset_pose.size()));
    for (double joint : reset_pose) {
      // openpi's poses are Python literals, of which whole numbers are integers.
      joint == std::floor(joint) ? packer.pack(int(joint)) : packer.pack_double(joint);
    }
  }
  return std::move(sink.text);
}

}  // namespace saccade::server
