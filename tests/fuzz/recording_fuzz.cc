// The index of a recording: any bytes end in a list of requests or in InvalidArgument.
#include <cstdint>
#include <string_view>

#include "saccade/error.h"
#include "server/recording.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    for (const auto& request : saccade::server::parse_index(text, "fuzz").requests) {
      saccade::server::index_line(request);
    }
  } catch (const saccade::InvalidArgument&) {
  }
  return 0;
}
