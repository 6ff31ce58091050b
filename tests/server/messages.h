#pragma once

#define MSGPACK_NO_BOOST
#include <gtest/gtest.h>

#include <cstring>
#include <msgpack.hpp>
#include <string>
#include <vector>

#include "io/temp_files.h"
#include "server/value.h"

// Messages as openpi's client packs them, and what becomes of bad ones.
namespace saccade::server {

inline Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

/// Builds a message; text stands for itself, and keys of arrays are bytes.
class Packed {
 public:
  Packed& map(std::uint32_t keys) { return packer_.pack_map(keys), *this; }
  Packed& list(std::uint32_t items) { return packer_.pack_array(items), *this; }
  Packed& text(const std::string& value) { return packer_.pack(value), *this; }
  Packed& bytes(const std::string& value) {
    packer_.pack_bin(std::uint32_t(value.size())).pack_bin_body(value.data(), value.size());
    return *this;
  }
  template <typename T>
  Packed& number(T value) {
    return packer_.pack(value), *this;
  }
  Packed& array(const std::string& dtype, const std::vector<int>& shape, const std::string& data) {
    map(4).bytes("__ndarray__").number(true).bytes("data").bytes(data);
    bytes("dtype").text(dtype).bytes("shape").list(std::uint32_t(shape.size()));
    for (int extent : shape) number(extent);
    return *this;
  }
  template <typename T>
  Packed& array(const std::string& dtype, const std::vector<int>& shape,
                const std::vector<T>& values) {
    return array(
        dtype, shape,
        std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
  }
  Packed& raw(const std::string& bytes) { return buffer_.write(bytes.data(), bytes.size()), *this; }

  std::string str() const { return {buffer_.data(), buffer_.size()}; }

 private:
  msgpack::sbuffer buffer_;
  msgpack::packer<msgpack::sbuffer> packer_{buffer_};
};

}  // namespace saccade::server
