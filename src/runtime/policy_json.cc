#include "runtime/policy_json.h"

#include <nlohmann/json.hpp>

namespace saccade {

nlohmann::ordered_json to_json(const PolicyInfo& info) {
  return {{"model", name_of(info.model)},
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
          {"warnings", info.warnings},
          {"notes", info.notes}};
}

}  // namespace saccade
