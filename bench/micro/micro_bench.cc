// Measures the GPU itself:
//
//   micro_bench [--json]

#include <cstdio>
#include <cstring>
#include <exception>

#include "cuda/device.h"
#include "micro/micro.h"

namespace saccade::bench {
namespace {

void print(const Measurement& m, bool json, bool last) {
  if (json) {
    std::printf("    {\"what\": \"%s\", \"value\": %.4g, \"unit\": \"%s\"}%s\n", m.what.c_str(),
                m.value, m.unit.c_str(), last ? "" : ",");
  } else {
    std::printf("%-64s %9.3f %s\n", m.what.c_str(), m.value, m.unit.c_str());
  }
}

void run(bool json) {
  const auto stream = cuda::open_stream();
  const cuda::DeviceInfo info = cuda::device_info();
  std::vector<Measurement> all;
  for (const auto measure : {launch_gaps, grid_barriers, cold_reads}) {
    const std::vector<Measurement> some = measure(*stream, info.multiprocessors);
    all.insert(all.end(), some.begin(), some.end());
  }
  if (json) {
    std::printf("{\n  \"gpu\": \"%s\",\n  \"measurements\": [\n", info.name.c_str());
  } else {
    std::printf("%s, %d multiprocessors\n\n", info.name.c_str(), info.multiprocessors);
  }
  for (const Measurement& m : all) print(m, json, &m == &all.back());
  if (json) std::printf("  ]\n}\n");
}

}  // namespace
}  // namespace saccade::bench

int main(int argc, char** argv) {
  try {
    saccade::bench::run(argc > 1 && std::strcmp(argv[1], "--json") == 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "micro_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
