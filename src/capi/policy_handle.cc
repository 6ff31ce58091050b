#include "capi/policy_handle.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/policy_json.h"

namespace {

std::vector<const char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  return pointers;
}

std::string describe(const saccade::PolicyInfo& info) {
  return to_json(info).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

saccade_policy::saccade_policy(saccade::Policy loaded)
    : policy(std::move(loaded)),
      json(describe(policy.info())),
      info{},
      precision_(name_of(policy.info().precision)) {
  const saccade::PolicyInfo& from = policy.info();
  cameras_ = pointers_to(from.cameras);
  action_names_ = pointers_to(from.action_names);
  warnings_ = pointers_to(from.warnings);
  notes_ = pointers_to(from.notes);

  info.model = name_of(from.model);
  info.mode = name_of(from.mode);
  info.device = name_of(from.device);
  info.precision = precision_.c_str();
  info.layout = from.layout.c_str();
  info.steps = from.steps;
  info.chunk = from.chunk;
  info.state_dim = from.state_dim;
  info.max_state_dim = from.max_state_dim;
  info.action_dim = from.action_dim;
  info.max_action_dim = from.max_action_dim;
  info.image_size = from.image_size;
  info.max_prompt_tokens = from.max_prompt_tokens;
  info.state_in_prompt = from.state_in_prompt ? 1 : 0;
  info.cameras = cameras_.data();
  info.camera_count = cameras_.size();
  info.action_names = action_names_.data();
  info.action_name_count = action_names_.size();
  info.warnings = warnings_.data();
  info.warning_count = warnings_.size();
  info.parameters = from.parameters;
  info.weight_bytes = from.weight_bytes;
  info.buffer_bytes = from.buffer_bytes;
  info.notes = notes_.data();
  info.note_count = notes_.size();
}
