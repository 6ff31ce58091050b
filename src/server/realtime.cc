#include "server/realtime.h"

#include <cmath>
#include <limits>

#include "core/check.h"
#include "io/json.h"

namespace saccade::server {
namespace {

constexpr auto kWhere = "observation";

double number_of(const Value& value, const std::string& key) {
  const std::vector<double> numbers = finite_numbers(value, key);
  SACCADE_CHECK(numbers.size() == 1, kWhere, io::quote(key), " must be a number, it has ",
                numbers.size(), " values");
  return numbers[0];
}

int count_of(const Value& value, const std::string& key) {
  const double number = number_of(value, key);
  const bool is_count =
      number >= 0 && number <= std::numeric_limits<int>::max() && std::trunc(number) == number;
  SACCADE_CHECK(is_count, kWhere, io::quote(key), " is ", number,
                ", it must be a whole number of actions");
  return int(number);
}

void read_actions(const Value& value, const std::string& key, RealTime& realtime) {
  const auto* array = value.as<NdArray>();
  const bool is_matrix = array != nullptr && array->shape.size() == 2;
  SACCADE_CHECK(is_matrix && array->shape[1] > 0 &&
                    array->shape[0] <= std::size_t(std::numeric_limits<int>::max()),
                kWhere, io::quote(key), " must be an array [rows, action dim], it is ",
                describe(value));
  NdArray flat = *array;
  flat.shape = {array->size()};
  const std::vector<double> values = finite_numbers({flat}, key);
  realtime.previous.assign(values.begin(), values.end());
  realtime.rows = int(array->shape[0]);
}

}  // namespace

RealTime decode_realtime(const Value& value) {
  const auto* map = value.as<Map>();
  SACCADE_CHECK(map != nullptr, kWhere, io::quote(kRealTimeKey), " must be a map, it is ",
                describe(value));
  for (const char* required : {"prev_actions", "inference_delay"}) {
    SACCADE_CHECK(find(*map, required) != nullptr, kWhere, io::quote(kRealTimeKey), " has no ",
                  io::quote(required));
  }
  RealTime realtime;
  for (const auto& [name, item] : *map) {
    const std::string key = std::string(kRealTimeKey) + "." + std::string(name);
    if (name == "prev_actions") {
      read_actions(item, key, realtime);
    } else if (name == "inference_delay") {
      realtime.inference_delay = count_of(item, key);
    } else if (name == "execution_horizon") {
      realtime.execution_horizon = count_of(item, key);
    } else if (name == "schedule") {
      realtime.schedule = parse_schedule(utf8_text(item, key));
    } else if (name == "max_guidance_weight") {
      realtime.max_weight = number_of(item, key);
    } else {
      fail(kWhere, io::quote(key),
           " is not known; there are prev_actions, inference_delay, execution_horizon, schedule "
           "and max_guidance_weight");
    }
  }
  return realtime;
}

}  // namespace saccade::server
