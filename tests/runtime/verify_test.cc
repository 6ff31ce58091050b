// Every reference run of LeRobot that is kept in tests/golden, stage by stage.

#include "runtime/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>

#include "io/safetensors.h"
#include "runtime/inspect.h"

namespace saccade {
namespace {

namespace fs = std::filesystem;

struct Case {
  fs::path checkpoint;
  fs::path reference;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.reference; }

const fs::path kGolden = SACCADE_GOLDEN;

bool is_yardstick(const fs::path& reference) {
  return reference.stem() == "ref_bf16" || reference.parent_path().filename() == "pi05_bf16";
}

/// The checkpoints of a golden folder: its safetensors and its Orbax tree, where it has them.
std::vector<fs::path> checkpoints(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const char* weights : {"model.safetensors", "model.safetensors.index.json"}) {
    if (fs::exists(folder / weights)) found.push_back(folder);
  }
  if (fs::exists(folder / "orbax" / "params")) found.push_back(folder / "orbax");
  return found;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const auto& entry : fs::recursive_directory_iterator(kGolden)) {
    const fs::path& path = entry.path();
    const bool is_reference =
        path.extension() == ".safetensors" && path.stem().string().rfind("ref", 0) == 0;
    if (!is_reference || is_yardstick(path)) continue;
    for (const fs::path& checkpoint : checkpoints(path.parent_path())) {
      all.push_back({checkpoint, path});
    }
  }
  std::sort(all.begin(), all.end(), [](const Case& a, const Case& b) {
    return std::pair(a.checkpoint, a.reference) < std::pair(b.checkpoint, b.reference);
  });
  return all;
}

std::string name_of_case(const ::testing::TestParamInfo<Case>& info) {
  std::string name = fs::relative(info.param.checkpoint, kGolden).string() + "_" +
                     info.param.reference.stem().string();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

class Golden : public ::testing::TestWithParam<Case> {};

TEST_P(Golden, EveryStageMatchesInF32) {
  VerifyOptions options;
  options.load.precision = Precision::kF32;
  options.reference = GetParam().reference;
  const VerifyReport report = verify(GetParam().checkpoint, options);
  std::set<std::string> seen;
  for (const StageError& stage : report.stages) {
    seen.insert(stage.stage);
    EXPECT_TRUE(stage.passed) << stage.stage << ": relative error " << stage.relative;
  }
  EXPECT_TRUE(report.passed);

  // Everything that the reference computed is compared, or dropped with a reason.
  const io::SafetensorsFile file(options.reference);
  for (const auto& [name, entry] : file.entries()) {
    const bool input = name.rfind("in.", 0) == 0 || name == "prefix.pad_mask" ||
                       name.ends_with(".x") || name.ends_with(".t");
    EXPECT_TRUE(input || seen.count(name) == 1) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(LeRobot, Golden, ::testing::ValuesIn(cases()), name_of_case);

TEST(Goldens, AreThere) { EXPECT_GE(cases().size(), 30u); }

TEST(Yardstick, Bf16StaysWithinLeRobotsOwnErrorAtEveryStage) {
  const std::vector<std::array<fs::path, 3>> runs{
      {kGolden / "pi05_lerobot", kGolden / "pi05_lerobot" / "ref.safetensors",
       kGolden / "pi05_bf16" / "ref.safetensors"},
      {kGolden / "variants/pi0_small", kGolden / "variants/pi0_small/ref.safetensors",
       kGolden / "variants/pi0_small/ref_bf16.safetensors"},
      {kGolden / "variants/pi05_small", kGolden / "variants/pi05_small/ref.safetensors",
       kGolden / "variants/pi05_small/ref_bf16.safetensors"}};
  for (const auto& [checkpoint, reference, yardstick] : runs) {
    VerifyOptions options;
    options.load.precision = Precision::kBf16;
    options.reference = reference;
    options.yardstick = yardstick;
    const VerifyReport report = verify(checkpoint, options);
    for (const StageError& stage : report.stages) {
      EXPECT_TRUE(stage.passed) << checkpoint << " " << stage.stage << ": " << stage.relative
                                << " against " << stage.yardstick;
    }
  }
}

TEST(Layouts, GiveIdenticalBuffers) {
  for (const char* folder : {"pi0_orbax", "pi05_openpi_orbax"}) {
    const auto torch = weight_digest(kGolden / folder, {});
    const auto orbax = weight_digest(kGolden / folder / "orbax" / "params", {});
    EXPECT_GT(torch.size(), 40u);
    EXPECT_EQ(torch, orbax) << folder;
  }
}

TEST(Verify, SeesAPerturbedReference) {
  const fs::path reference = kGolden / "pi0_lerobot" / "ref.safetensors";
  const fs::path copy = fs::temp_directory_path() / "saccade_perturbed_ref.safetensors";
  fs::copy_file(reference, copy, fs::copy_options::overwrite_existing);
  const io::SafetensorsFile original(reference);
  std::fstream file(copy, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(std::streamoff(original.entry("kv.1.v").begin + 3));
  file.put(char(0x7f));  // the first value's exponent
  file.close();
  VerifyOptions options;
  options.load.precision = Precision::kF32;
  options.reference = copy;
  const VerifyReport report = verify(kGolden / "pi0_lerobot", options);
  fs::remove(copy);
  EXPECT_FALSE(report.passed);
  for (const StageError& stage : report.stages) {
    EXPECT_EQ(stage.passed, stage.stage != "kv.1.v") << stage.stage;
  }
}

/// A copy of pi0_lerobot's reference in which a tensor's elements, as many as before, or the first
/// of them, have other extents.
std::string refusal_of_reshaped(const std::string& tensor, std::vector<std::int64_t> extents) {
  const io::SafetensorsFile original(kGolden / "pi0_lerobot" / "ref.safetensors");
  const fs::path copy = fs::temp_directory_path() / "saccade_reshaped_ref.safetensors";
  std::vector<io::WeightInfo> infos;
  for (const auto& [name, entry] : original.entries()) {
    infos.push_back(entry.info);
    if (name == tensor) infos.back().extents = extents;
  }
  io::write_safetensors(copy, {}, infos, [&](const io::WeightInfo& info, const auto& sink) {
    sink(original.bytes(original.entry(info.name)).first(info.bytes()));
  });
  VerifyOptions options;
  options.load.precision = Precision::kF32;
  options.reference = copy;
  std::string refusal;
  try {
    verify(kGolden / "pi0_lerobot", options);
  } catch (const InvalidArgument& error) {
    refusal = error.what();
  }
  fs::remove(copy);
  return refusal;
}

TEST(Verify, AStageOfOtherExtentsIsNamed) {
  EXPECT_NE(refusal_of_reshaped("step.0.v", {1, 12, 16}).find("step.0.v does not fit"),
            std::string::npos);
  EXPECT_NE(refusal_of_reshaped("step.0.v", {1, 3, 64}).find("step.0.v does not fit"),
            std::string::npos);
  EXPECT_NE(refusal_of_reshaped("kv.1.k", {1, 1, 14, 16}).find("kv.1.k does not fit"),
            std::string::npos);  // shorter than the mask's last valid row
}

TEST(Verify, NamesAReferenceThatFitsNoModel) {
  VerifyOptions options;
  options.reference = kGolden / "pi05_lerobot" / "model.safetensors";
  EXPECT_THROW(verify(kGolden / "pi05_lerobot", options), InvalidArgument);
}

}  // namespace
}  // namespace saccade
