#pragma once

#include "saccade/policy.h"
#include "server/value.h"

namespace saccade::server {

/// The key of an observation that asks for real-time chunking.
inline constexpr const char* kRealTimeKey = "rtc";

/// Reads its value. Fails with one sentence that names the key.
RealTime decode_realtime(const Value&);

}  // namespace saccade::server
