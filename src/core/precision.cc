#include <array>
#include <charconv>
#include <utility>

#include "core/check.h"
#include "saccade/policy.h"

namespace saccade {
namespace {

constexpr auto kWhere = "precision";
constexpr std::string_view kAuto = "auto";
constexpr std::array kAll{Precision::kF32, Precision::kBf16, Precision::kFp8};

struct Stage {
  std::string_view name;
  Precision Precisions::*precision;
};
constexpr std::array<Stage, 3> kStages{{{"vision", &Precisions::vision},
                                        {"prefix", &Precisions::prefix},
                                        {"expert", &Precisions::expert}}};

std::optional<Precision> precision_named(std::string_view name) {
  for (const Precision precision : kAll) {
    if (name == name_of(precision)) return precision;
  }
  return {};
}

double parse_bound(std::string_view text) {
  double bound = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bound);
  SACCADE_CHECK(error == std::errc() && end == text.data() + text.size() && bound >= 0 && bound < 1,
                kWhere, "the bound of auto must be a number from 0 to below 1, such as auto:0.02, ",
                "it is '", text, "'");
  return bound;
}

/// "expert=fp8"
void set_stage(std::string_view part, Precisions& precisions, std::vector<std::string_view>& set) {
  const auto equals = part.find('=');
  SACCADE_CHECK(equals != std::string_view::npos, kWhere,
                "a mix must be of stage=precision, such as prefix=fp8,expert=fp8, got '", part,
                "'");
  const std::string_view name = part.substr(0, equals);
  const auto precision = precision_named(part.substr(equals + 1));
  SACCADE_CHECK(precision, kWhere, "a stage must be f32, bf16 or fp8, got '", part, "'");
  for (const Stage& stage : kStages) {
    if (stage.name != name) continue;
    for (const std::string_view other : set) {
      SACCADE_CHECK(other != name, kWhere, "the stage ", name, " is given twice");
    }
    set.push_back(name);
    precisions.*stage.precision = *precision;
    return;
  }
  fail(kWhere, "there is no stage '", name, "', only vision, prefix and expert");
}

Precisions parse_mix(std::string_view text) {
  Precisions precisions = Precision::kBf16;
  std::vector<std::string_view> set;
  for (;;) {
    const auto comma = text.find(',');
    set_stage(text.substr(0, comma), precisions, set);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  SACCADE_CHECK(precisions.vision != Precision::kFp8, kWhere,
                "vision does not run in fp8, only prefix and expert do");
  int exact = 0;
  for (const Stage& stage : kStages) exact += precisions.*stage.precision == Precision::kF32;
  SACCADE_CHECK(exact == 0 || exact == 3, kWhere, "f32 is for all of vision, prefix and expert, ",
                "not for some; those that are not named are bf16");
  return precisions;
}

}  // namespace

const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return "f32";
    case Precision::kBf16:
      return "bf16";
    case Precision::kFp8:
      return "fp8";
  }
  return "?";
}

std::string name_of(const Precisions& precisions) {
  for (const Precision all : kAll) {
    if (precisions == Precisions(all)) return name_of(all);
  }
  std::string name;
  for (const Stage& stage : kStages) {
    name.append(name.empty() ? "" : ",").append(stage.name).append("=");
    name += name_of(precisions.*stage.precision);
  }
  return name;
}

void set_precision(std::string_view text, LoadOptions& options) {
  options.precision.reset();
  options.auto_precision.reset();
  if (const auto all = precision_named(text)) {
    options.precision = *all;
  } else if (text == kAuto) {
    options.auto_precision = kAutoPrecisionBound;
  } else if (text.starts_with(kAuto) && text.substr(kAuto.size()).starts_with(':')) {
    options.auto_precision = parse_bound(text.substr(kAuto.size() + 1));
  } else {
    SACCADE_CHECK(text.find('=') != std::string_view::npos, kWhere,
                  "must be f32, bf16, fp8, auto, or a mix such as prefix=fp8,expert=fp8, it is '",
                  text, "'");
    options.precision = parse_mix(text);
  }
}

}  // namespace saccade
