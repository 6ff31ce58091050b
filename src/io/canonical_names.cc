#include "io/canonical_names.h"

#include <algorithm>
#include <array>

#include "core/check.h"
#include "io/json.h"

namespace saccade::io {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::string_view kPaligemma = "paligemma_with_expert.paligemma.";
constexpr std::string_view kEmbedding =
    "paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight";
constexpr std::string_view kOutputEmbedding = "paligemma_with_expert.paligemma.lm_head.weight";

constexpr std::array kRoots = {
    "paligemma_with_expert."sv, "action_in_proj."sv,      "action_out_proj."sv, "state_proj."sv,
    "action_time_mlp_in."sv,    "action_time_mlp_out."sv, "time_mlp_in."sv,     "time_mlp_out."sv,
};

/// Old transformers layouts of PaliGemma, and what they are now.
constexpr std::array<std::array<std::string_view, 2>, 4> kMoved = {{
    {"vision_tower.", "model.vision_tower."},
    {"multi_modal_projector.", "model.multi_modal_projector."},
    {"language_model.model.", "model.language_model."},
    {"language_model.lm_head.", "lm_head."},
}};

void replace_prefix(std::string& text, std::string_view from, std::string_view to) {
  if (text.starts_with(from)) text.replace(0, from.size(), to);
}

void remove_compiled_modules(std::string& name) {
  constexpr auto kCompiled = "_orig_mod."sv;
  std::size_t at = 0;
  while ((at = name.find(kCompiled, at)) != std::string::npos) {
    if (at == 0 || name[at - 1] == '.') {
      name.erase(at, kCompiled.size());
    } else {
      at += kCompiled.size();
    }
  }
}

}  // namespace

std::string canonical_name(std::string_view key) {
  std::string name(key);
  remove_compiled_modules(name);
  if (name.starts_with("model.")) {
    const std::string inner = name.substr(6);
    const bool known = std::any_of(kRoots.begin(), kRoots.end(),
                                   [&](std::string_view root) { return inner.starts_with(root); });
    if (known) name = inner;
  }
  if (!name.starts_with(kPaligemma)) return name;

  std::string rest = name.substr(kPaligemma.size());
  for (const auto& [from, to] : kMoved) replace_prefix(rest, from, to);
  if (!rest.starts_with("model.vision_tower.vision_model.")) {
    replace_prefix(rest, "model.vision_tower.", "model.vision_tower.vision_model.");
  }
  return std::string(kPaligemma) + rest;
}

std::map<std::string, std::string> canonical_names(const std::vector<std::string>& keys,
                                                   std::string_view where) {
  std::map<std::string, std::string> names;
  for (const std::string& key : keys) {
    const auto [entry, added] = names.emplace(canonical_name(key), key);
    SACCADE_CHECK(added, where, quote(entry->second), " and ", quote(key),
                  " are names of the same tensor");
  }
  if (!names.contains(std::string(kEmbedding))) {
    auto output = names.extract(std::string(kOutputEmbedding));
    if (output) {
      output.key() = kEmbedding;
      names.insert(std::move(output));
    }
  }
  return names;
}

std::optional<std::string> other_time_mlp_name(std::string_view canonical) {
  constexpr auto kAction = "action_"sv;
  const bool pi0 = canonical.starts_with(kAction);
  const std::string_view plain = pi0 ? canonical.substr(kAction.size()) : canonical;
  if (!plain.starts_with("time_mlp_in.") && !plain.starts_with("time_mlp_out.")) {
    return std::nullopt;
  }
  return pi0 ? std::string(plain) : std::string(kAction) + std::string(plain);
}

}  // namespace saccade::io
