#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "capi/statistics.h"
#include "saccade.h"
#include "saccade/policy.h"

/// What a caller of the C interface holds: a policy, and all that it was told of that must live as
/// long.
struct saccade_policy {
  explicit saccade_policy(saccade::Policy);

  saccade::Policy policy;
  std::string json;
  saccade_info info;
  saccade::capi::Statistics statistics;

  std::mutex inference;  // guards policy

 private:
  std::string precision_;
  std::vector<const char*> cameras_;
  std::vector<const char*> action_names_;
  std::vector<const char*> warnings_;
  std::vector<const char*> notes_;
};
