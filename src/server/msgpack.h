#pragma once

#include <optional>
#include <string>
#include <vector>

#include "saccade/policy.h"
#include "server/value.h"

// The msgpack flavour of openpi's clients (openpi_client.msgpack_numpy): NumPy's arrays and scalars
// are maps with the keys __ndarray__ and __npgeneric__.
namespace saccade::server {

// What a message may hold; robots' observations hold a tenth of it.
inline constexpr int kMaxDepth = 16;
inline constexpr int kMaxValues = 1 << 16;  // of all lists and maps together
inline constexpr int kMaxMapKeys = 256;     // of one map
inline constexpr int kMaxAxes = 8;

/// Decodes one message, which must outlive the value. Throws InvalidArgument with one sentence on
/// whatever is no message, on bytes after it, and beyond the limits.
Value decode_message(Bytes message);

/// What the server tells about an inference.
struct Timing {
  double policy_ms = 0;  // the model
  double infer_ms = 0;   // from the observation's arrival to its actions
  std::optional<double> previous_total_ms;
};

/// {"actions": f8 [actions, action_dim], "policy_timing": {...}, "server_timing": {...}}, byte for
/// byte as openpi's packer writes it.
std::string encode_reply(const ActionChunk&, const Timing&);

/// {} or {"reset_pose": [...]}.
std::string encode_metadata(const std::vector<double>& reset_pose);

}  // namespace saccade::server
