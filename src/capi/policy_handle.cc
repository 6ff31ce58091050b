#include "capi/policy_handle.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace {

std::vector<const char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  return pointers;
}

std::string describe(const saccade::PolicyInfo& info) {
  using Json = nlohmann::ordered_json;
  const Json json{{"model", name_of(info.model)},
                  {"mode", name_of(info.mode)},
                  {"device", name_of(info.device)},
                  {"precision", name_of(info.precision)},
                  {"layout", info.layout},
                  {"steps", info.steps},
                  {"chunk", info.chunk},
                  {"state_dim", info.state_dim},
                  {"max_state_dim", info.max_state_dim},
                  {"action_dim", info.action_dim},
                  {"max_action_dim", info.max_action_dim},
                  {"image_size", info.image_size},
                  {"max_prompt_tokens", info.max_prompt_tokens},
                  {"state_in_prompt", info.state_in_prompt},
                  {"cameras", info.cameras},
                  {"action_names", info.action_names},
                  {"parameters", info.parameters},
                  {"weight_bytes", info.weight_bytes},
                  {"buffer_bytes", info.buffer_bytes},
                  {"warnings", info.warnings}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

saccade_policy::saccade_policy(saccade::Policy loaded)
    : policy(std::move(loaded)), json(describe(policy.info())), info{} {
  const saccade::PolicyInfo& from = policy.info();
  cameras_ = pointers_to(from.cameras);
  action_names_ = pointers_to(from.action_names);
  warnings_ = pointers_to(from.warnings);

  info.model = name_of(from.model);
  info.mode = name_of(from.mode);
  info.device = name_of(from.device);
  info.precision = name_of(from.precision);
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
}
