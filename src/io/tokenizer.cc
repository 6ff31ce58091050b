#include "io/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "core/check.h"

namespace saccade::io {
namespace {

namespace fs = std::filesystem;

constexpr auto kWhere = "tokenizer";

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

std::optional<fs::path> in_folder(const fs::path& folder) {
  constexpr std::array kNames{"paligemma_tokenizer.model", "tokenizer.model",
                              "tokenizer/tokenizer.model"};
  for (const char* name : kNames) {
    if (is_file(folder / name)) return folder / name;
  }
  return std::nullopt;
}

/// What a user names must be there: to go on searching would be a silent fallback.
fs::path named(const fs::path& path, std::string_view by) {
  std::error_code error;
  SACCADE_CHECK(fs::exists(path, error), kWhere, path.string(), ", given by ", by,
                ", does not exist");
  if (is_file(path)) return path;
  const auto found = in_folder(path);
  SACCADE_CHECK(found, kWhere, path.string(), ", given by ", by,
                ", is a folder without paligemma_tokenizer.model or tokenizer.model");
  return *found;
}

/// Empty where the variable is not set or is empty.
fs::path from_environment(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? value : "";
}

fs::path cache_folder() { return from_environment("HOME") / ".cache"; }

fs::path hugging_face_folder() {
  constexpr auto kModel = "models--google--paligemma-3b-pt-224";
  fs::path hub = from_environment("HF_HUB_CACHE");
  if (const fs::path home = from_environment("HF_HOME"); hub.empty() && !home.empty()) {
    hub = home / "hub";
  }
  if (hub.empty()) hub = cache_folder() / "huggingface" / "hub";
  return hub / kModel;
}

fs::path openpi_folder() {
  fs::path home = from_environment("OPENPI_DATA_HOME");
  if (home.empty()) home = cache_folder() / "openpi";
  return home / "big_vision";
}

/// The snapshot that refs/main names, else the first one in the alphabet that has the file.
std::optional<fs::path> in_hugging_face_cache(const fs::path& model) {
  std::string revision;
  std::getline(std::ifstream(model / "refs" / "main"), revision);
  std::vector<fs::path> snapshots;
  std::error_code error;
  for (fs::directory_iterator it(model / "snapshots", error), end; !error && it != end;
       it.increment(error)) {
    snapshots.push_back(it->path());
  }
  std::sort(snapshots.begin(), snapshots.end(), [&](const fs::path& a, const fs::path& b) {
    return std::pair(a.filename() != revision, a) < std::pair(b.filename() != revision, b);
  });
  for (const fs::path& snapshot : snapshots) {
    if (is_file(snapshot / "tokenizer.model")) return snapshot / "tokenizer.model";
  }
  return std::nullopt;
}

}  // namespace

struct Tokenizer::Impl {
  sentencepiece::SentencePieceProcessor processor;
};

Tokenizer::Tokenizer(const fs::path& model) : impl_(std::make_unique<Impl>()) {
  SACCADE_CHECK(is_file(model), kWhere, model.string(), " does not exist or is not a file");
  const auto status = impl_->processor.Load(model.string());
  SACCADE_CHECK(status.ok(), kWhere, model.string(), " is no SentencePiece model");
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<int> Tokenizer::encode(std::string_view text, bool add_bos) const {
  std::vector<int> ids;
  const auto status = impl_->processor.Encode({text.data(), text.size()}, &ids);
  SACCADE_CHECK(status.ok(), kWhere, "the text cannot be encoded: ", status.ToString());
  if (add_bos) {
    const int bos = impl_->processor.bos_id();
    SACCADE_CHECK(bos >= 0, kWhere, "the model has no beginning-of-sentence token");
    ids.insert(ids.begin(), bos);
  }
  return ids;
}

int Tokenizer::vocabulary() const { return impl_->processor.GetPieceSize(); }

fs::path find_tokenizer(const fs::path& given, const fs::path& checkpoint_folder) {
  constexpr auto kVariable = "SACCADE_TOKENIZER";
  if (!given.empty()) return named(given, "--tokenizer");
  if (!checkpoint_folder.empty()) {
    if (const auto found = in_folder(checkpoint_folder)) return *found;
  }
  if (const fs::path path = from_environment(kVariable); !path.empty()) {
    return named(path, kVariable);
  }
  const fs::path hugging_face = hugging_face_folder();
  if (const auto found = in_hugging_face_cache(hugging_face)) return *found;
  const fs::path openpi = openpi_folder();
  if (const auto found = in_folder(openpi)) return *found;
  fail(kWhere, "no tokenizer in the checkpoint folder ", checkpoint_folder.string(), ", in ",
       hugging_face.string(), " or in ", openpi.string(), ", and $", kVariable,
       " is not set; get gs://big_vision/paligemma_tokenizer.model, or tokenizer.model of "
       "google/paligemma-3b-pt-224 on Hugging Face, and name it with --tokenizer");
}

}  // namespace saccade::io
