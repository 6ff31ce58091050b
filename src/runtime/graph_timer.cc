#include "runtime/graph_timer.h"

#include <algorithm>
#include <vector>

#include "cuda/device.h"

namespace saccade {

double time_in_graph(const Stream& stream, int count, const std::function<void(int)>& enqueue) {
  constexpr int kWarmUps = 3;  // while they run, the host gets ahead of the GPU
  constexpr std::size_t kReplays = 21;
  const cuda::Graph graph(stream, [&] {
    for (int i = 0; i < count; ++i) enqueue(i);
  });
  for (int i = 0; i < kWarmUps; ++i) graph.launch(stream);
  std::vector<cuda::Event> marks(kReplays + 1);
  marks[0].record(stream);
  for (std::size_t i = 1; i <= kReplays; ++i) {
    graph.launch(stream);
    marks[i].record(stream);
  }
  cuda::synchronize(stream);
  std::vector<double> times;
  for (std::size_t i = 1; i <= kReplays; ++i) times.push_back(marks[i].ms_since(marks[i - 1]));
  std::nth_element(times.begin(), times.begin() + kReplays / 2, times.end());
  return 1e3 * times[kReplays / 2] / count;
}

}  // namespace saccade
