#pragma once

#include <functional>

#include "saccade/stream.h"

namespace saccade {

/// Microseconds of one of `count` pieces of work, which `enqueue(i)` enqueues: the median over
/// replays of a graph that holds them all.
double time_in_graph(const Stream&, int count, const std::function<void(int)>& enqueue);

}  // namespace saccade
