#include "runtime/synth.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "core/check.h"
#include "io/safetensors.h"
#include "runtime/outliers.h"
#include "runtime/synth_files.h"
#include "runtime/synth_random.h"
#include "runtime/synth_tensors.h"

namespace saccade {
namespace {

namespace fs = std::filesystem;

constexpr auto kWhere = "synth";
constexpr std::size_t kPieceElements = std::size_t{1} << 20;
constexpr std::uint64_t kOtherFilesBytes = 1 << 20;  // headers, JSON files and statistics
constexpr int kMaxCameras = 16;

/// The values of a tensor.
struct Values {
  RandomTensor random;
  OutlierScaling outliers;
};

/// A directory that is filled with new files, all of which vanish again unless keep() is called.
class NewDirectory {
 public:
  explicit NewDirectory(const fs::path& root) : root_(root) {
    std::error_code error;
    if (fs::exists(root, error)) {
      SACCADE_CHECK(fs::is_directory(root, error), kWhere, root.string(), " is not a directory");
      const bool empty = fs::is_empty(root, error);
      SACCADE_CHECK(!error, kWhere, "cannot read ", root.string(), ": ", error.message());
      SACCADE_CHECK(empty, kWhere, root.string(), " is not empty; name a new directory");
    } else {
      SACCADE_CHECK(fs::create_directory(root, error), kWhere, "cannot make the directory ",
                    root.string(), ": ", error.message());
      made_.push_back(root);
    }
  }

  NewDirectory(const NewDirectory&) = delete;
  NewDirectory& operator=(const NewDirectory&) = delete;

  ~NewDirectory() {
    std::error_code ignored;
    while (!made_.empty()) {
      fs::remove(made_.back(), ignored);
      made_.pop_back();
    }
  }

  /// Where to write a new file. Makes the directories above it.
  fs::path file(const fs::path& relative) {
    fs::path path = root_;
    for (const fs::path& part : relative.parent_path()) {
      path /= part;
      if (fs::create_directory(path)) made_.push_back(path);
    }
    return made_.emplace_back(root_ / relative);
  }

  void keep() { made_.clear(); }

 private:
  fs::path root_;
  std::vector<fs::path> made_;
};

void write_text(const fs::path& file, const std::string& text) {
  errno = 0;
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  stream.close();
  SACCADE_CHECK(stream.good(), kWhere, "cannot write ", file.string(), ": ", std::strerror(errno));
}

void write_statistics(const fs::path& file, const io::Statistics& statistics) {
  std::map<std::string, std::vector<float>> values;
  std::vector<io::WeightInfo> tensors;
  for (const auto& [feature, by_name] : statistics) {
    for (const auto& [name, numbers] : by_name) {
      const std::string key = feature + "." + name;
      values[key] = {numbers.begin(), numbers.end()};
      tensors.push_back({key, io::FileDType::kF32, {static_cast<std::int64_t>(numbers.size())}});
    }
  }
  io::write_safetensors(file, {}, tensors,
                        [&](const io::WeightInfo& info, const io::ByteSink& sink) {
                          sink(std::as_bytes(std::span(values.at(info.name))));
                        });
}

template <typename T>
void write_values(const Values& values, const io::WeightInfo& info, const io::ByteSink& sink) {
  const auto size = static_cast<std::uint64_t>(info.size());
  const std::int64_t row_size = info.size() / info.extents[0];
  std::vector<T> piece(std::min<std::uint64_t>(size, kPieceElements));
  for (std::uint64_t first = 0; first < size; first += piece.size()) {
    const std::span<T> part(piece.data(), std::min<std::uint64_t>(piece.size(), size - first));
    values.random.fill(first, part);
    values.outliers.apply(row_size, std::int64_t(first), part);
    sink(std::as_bytes(part));
  }
}

void write_weights(const fs::path& file, const SynthOptions& options,
                   const std::vector<SynthTensor>& tensors, std::uint64_t bytes) {
  // The values hang on canonical names, so that both layouts of one seed hold the same weights.
  const std::string prefix = options.layout == SynthLayout::kLerobot ? "model." : "";
  std::map<std::string, Values> values;
  std::vector<io::WeightInfo> infos;
  for (const SynthTensor& tensor : tensors) {
    io::WeightInfo& info = infos.emplace_back(tensor.info);
    info.name = prefix + info.name;
    const std::string& canonical = tensor.info.name;
    Values of_tensor{RandomTensor(options.seed, canonical, tensor.mean, tensor.std), {}};
    if (options.outliers) {
      of_tensor.outliers =
          outlier_scaling(options.model, canonical, tensor.info.extents, options.seed);
    }
    values.emplace(info.name, std::move(of_tensor));
  }
  std::uint64_t done = 0;
  const auto fill = [&](const io::WeightInfo& info, const io::ByteSink& sink) {
    const auto report = [&](std::span<const std::byte> piece) {
      sink(piece);
      done += piece.size();
      if (options.progress) options.progress("writing weights", done, bytes);
    };
    const Values& of_tensor = values.at(info.name);
    if (info.dtype == io::FileDType::kF32) {
      write_values<float>(of_tensor, info, report);
    } else {
      write_values<bf16>(of_tensor, info, report);
    }
  };
  io::write_safetensors(file, {{"format", "pt"}}, infos, fill);
}

}  // namespace

void synthesize_checkpoint(const fs::path& directory, const SynthOptions& options) {
  SACCADE_CHECK(options.cameras >= 1 && options.cameras <= kMaxCameras, kWhere,
                "cameras must be 1 to ", kMaxCameras, ", got ", options.cameras);
  const std::vector<SynthTensor> tensors = synth_tensors(options.model, options.size);
  std::uint64_t bytes = 0;
  for (const SynthTensor& tensor : tensors) bytes += tensor.info.bytes();

  NewDirectory target(directory);
  const std::uint64_t available = fs::space(directory).available;
  SACCADE_CHECK(available >= bytes + kOtherFilesBytes, kWhere, directory.string(), " needs ",
                (bytes + kOtherFilesBytes) >> 20, " MiB, but only ", available >> 20,
                " MiB are free there");

  const io::Statistics statistics = synth_statistics(options.seed);
  for (const auto& [name, text] : synth_files(options, statistics)) {
    write_text(target.file(name), text);
  }
  for (const std::string& name : synth_statistics_files(options)) {
    write_statistics(target.file(name), statistics);
  }
  write_weights(target.file("model.safetensors"), options, tensors, bytes);
  target.keep();
}

}  // namespace saccade
