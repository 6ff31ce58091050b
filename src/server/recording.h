#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/safetensors.h"
#include "runtime/observations.h"
#include "saccade/policy.h"

// What `saccade serve --record DIR` leaves behind (docs/serving.md): DIR/index.jsonl says how the
// policy was loaded and lists the requests; each has a safetensors file with its observation, as
// `saccade verify --fidelity --observations` takes it, and its actions.
namespace saccade::server {

inline constexpr char kIndexName[] = "index.jsonl";
inline constexpr char kActionsName[] = "actions";
inline constexpr char kPreviousName[] = "previous_actions";

/// What loads the policy again. Its device and precision are those that it ran in.
struct RecordedPolicy {
  std::filesystem::path checkpoint;
  LoadOptions load;
};

/// A line of the index.
struct RecordedRequest {
  std::string file;   // beside the index; empty when the message could not be read
  std::string time;   // of its reply, UTC
  std::string error;  // the reply, where that was no actions
  std::uint64_t connection = 0;
  std::uint64_t seed = 0;
  double queue_ms = 0;
  double policy_ms = 0;
  double total_ms = 0;
  std::vector<StageTime> stages;  // of the policy, for those who look; not read back
};

struct Recording {
  RecordedPolicy policy;
  std::vector<RecordedRequest> requests;
};

/// A request and the actions that it got.
struct RecordedReply {
  StoredObservation stored;
  std::int64_t actions = 0;
  std::int64_t action_dim = 0;
  std::vector<float> values;  // [actions, action_dim]
};

/// The first line of the index: `load` as the user gave it, and what became of it.
std::string index_header(const std::filesystem::path& checkpoint, const LoadOptions& load,
                         const PolicyInfo&);
std::string index_line(const RecordedRequest&);

/// The name of a request's file, by its number in the recording: "00000007.safetensors".
std::string request_file_name(std::uint64_t number);

/// The file of a request: what the robot saw and, where there are any, its actions. `where` names
/// it in messages.
void write_request(const io::ByteSink&, const std::string& where, const Observation&,
                   const ActionChunk&);
void write_request(const std::filesystem::path&, const Observation&, const ActionChunk&);

/// Reads the index. Fails with one sentence that names the line and the field.
Recording read_recording(const std::filesystem::path& directory);
Recording parse_index(std::string_view text, const std::string& file);

/// Reads the file of a request that got actions. Fails with one sentence that names the file.
RecordedReply read_reply(const std::filesystem::path& directory, const RecordedRequest&);

}  // namespace saccade::server
