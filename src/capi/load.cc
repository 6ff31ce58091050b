#include <charconv>
#include <string_view>
#include <system_error>

#include "capi/policy_handle.h"
#include "capi/sized.h"
#include "capi/status.h"
#include "core/check.h"
#include "saccade.h"

namespace saccade::capi {
namespace {

constexpr auto kWhere = "load";

/// One of the words of an option, by its index.
template <std::size_t n>
std::size_t choice(std::string_view key, std::string_view value,
                   const std::string_view (&words)[n]) {
  std::string list;
  for (std::size_t i = 0; i < n; ++i) {
    if (words[i] == value) return i;
    list.append(i > 0 ? ", " : "").append(words[i]);
  }
  fail(kWhere, "option ", key, " must be one of ", list, ", it is '", value, "'");
}

int number(std::string_view key, std::string_view value) {
  int parsed = 0;
  const auto [end, error] = std::from_chars(value.begin(), value.end(), parsed);
  SACCADE_CHECK(error == std::errc() && end == value.end() && parsed > 0, kWhere, "option ", key,
                " must be a whole number from 1 on, it is '", value, "'");
  return parsed;
}

void set_option(LoadOptions& options, std::string_view key, std::string_view value) {
  if (key == "model") {
    options.model = choice(key, value, {"pi0", "pi05"}) == 0 ? Model::kPi0 : Model::kPi05;
  } else if (key == "mode") {
    options.mode = choice(key, value, {"openpi", "lerobot"}) == 0 ? Mode::kOpenpi : Mode::kLerobot;
  } else if (key == "device") {
    constexpr std::optional<Device> kDevices[] = {{}, Device::kCpu, Device::kCuda};
    options.device = kDevices[choice(key, value, {"auto", "cpu", "cuda"})];
  } else if (key == "precision") {
    set_precision(value, options);
  } else if (key == "steps") {
    options.steps = number(key, value);
  } else if (key == "chunk") {
    options.chunk = number(key, value);
  } else if (key == "max_prompt_tokens") {
    options.max_prompt_tokens = number(key, value);
  } else if (key == "vision_heads") {
    options.vision_heads = number(key, value);
  } else if (key == "openpi_config") {
    options.openpi_config = value;
  } else if (key == "statistics") {
    options.statistics = value;
  } else if (key == "tokenizer") {
    options.tokenizer = value;
  } else {
    fail(kWhere, "there is no option '", key, "', which is given as '", value, "'");
  }
}

LoadOptions read_options(const saccade_option* options, std::size_t count) {
  SACCADE_CHECK(options != nullptr || count == 0, kWhere, "options is NULL, option_count is ",
                count);
  LoadOptions read;
  for (std::size_t i = 0; i < count; ++i) {
    SACCADE_CHECK(options[i].key != nullptr, kWhere, "options[", i, "].key must not be NULL");
    SACCADE_CHECK(options[i].value != nullptr, kWhere, "options[", i,
                  "].value must not be NULL: ", options[i].key);
    set_option(read, options[i].key, options[i].value);
  }
  return read;
}

}  // namespace
}  // namespace saccade::capi

using namespace saccade::capi;

const char* saccade_version(void) { return SACCADE_VERSION; }

int32_t saccade_abi_version(void) { return SACCADE_ABI_VERSION; }

const char* saccade_error_message(void) { return remembered_error(); }

saccade_status saccade_load(const char* checkpoint, const saccade_option* options,
                            size_t option_count, saccade_policy** policy) {
  return guarded([&] {
    SACCADE_CHECK(policy != nullptr, kWhere, "policy must not be NULL");
    SACCADE_CHECK(checkpoint != nullptr, kWhere, "checkpoint must not be NULL");
    const saccade::LoadOptions read = read_options(options, option_count);
    *policy = new saccade_policy(saccade::Policy::load(checkpoint, read));
  });
}

void saccade_free(saccade_policy* policy) { delete policy; }

saccade_status saccade_get_info(const saccade_policy* policy, saccade_info* info) {
  return guarded([&] {
    SACCADE_CHECK(policy != nullptr, "get_info", "policy must not be NULL");
    const saccade_info given = read_sized("get_info", "info", info);
    saccade_info known = policy->info;
    known.size = given.size;
    write_sized(known, info);
  });
}

saccade_status saccade_describe(const saccade_policy* policy, const char** json) {
  return guarded([&] {
    SACCADE_CHECK(policy != nullptr, "describe", "policy must not be NULL");
    SACCADE_CHECK(json != nullptr, "describe", "json must not be NULL");
    *json = policy->json.c_str();
  });
}

void* saccade_stream(const saccade_policy* policy) {
  return policy == nullptr ? nullptr : policy->policy.stream();
}

saccade_status saccade_get_stats(const saccade_policy* policy, saccade_stats* stats) {
  return guarded([&] {
    SACCADE_CHECK(policy != nullptr, "get_stats", "policy must not be NULL");
    saccade_stats known = read_sized("get_stats", "stats", stats);
    SACCADE_CHECK(known.stages != nullptr || known.stage_capacity == 0, "get_stats",
                  "stats.stages is NULL, stage_capacity is ", known.stage_capacity);
    policy->statistics.report(known);
    write_sized(known, stats);
  });
}
