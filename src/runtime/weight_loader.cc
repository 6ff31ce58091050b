#include "runtime/weight_loader.h"

#include <set>
#include <sstream>

#include "core/check.h"
#include "io/canonical_names.h"
#include "runtime/pack.h"
#include "runtime/weight_sink.h"

namespace saccade {
namespace {

using io::FileDType;
using io::WeightInfo;
using models::Lifetime;
using models::WeightPiece;
using models::WeightSlot;
using models::WeightType;

using Tensors = std::map<std::string, WeightInfo>;

Tensors::const_iterator find(const Tensors& tensors, const std::string& name) {
  const auto it = tensors.find(name);
  if (it != tensors.end()) return it;
  const auto other = io::other_time_mlp_name(name);
  return other ? tensors.find(*other) : it;
}

bool same_extents(const WeightInfo& info, Shape shape) {
  if (int(info.extents.size()) != shape.rank()) return false;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (info.extents[std::size_t(axis)] != shape[axis]) return false;
  }
  return true;
}

DType stored_type(const io::WeightSource* checkpoint, const WeightSlot& slot) {
  if (checkpoint == nullptr) return DType::kF32;
  for (const WeightPiece& piece : slot.pieces) {
    if (find(checkpoint->tensors(), piece.name)->second.dtype != FileDType::kBf16)
      return DType::kF32;
  }
  return DType::kBf16;
}

DType packed_type(const io::WeightSource* checkpoint, const WeightSlot& slot,
                  const WeightTypes& types) {
  switch (slot.type) {
    case WeightType::kVector:
      return DType::kF32;
    case WeightType::kMatrix:
      return types.matrix.value_or(stored_type(checkpoint, slot));
    case WeightType::kPrecise:
      return types.precise.value_or(stored_type(checkpoint, slot));
    case WeightType::kScaled:
      return DType::kE4m3;
    case WeightType::kStored:
      break;
  }
  return stored_type(checkpoint, slot);
}

void append(std::ostringstream& text, const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return;
  text << "\n  " << names.size() << ' ' << what << ':';
  for (const std::string& name : names) text << "\n    " << name;
}

[[noreturn]] void refuse(const WeightReport& report, const std::string& source,
                         const std::string& model) {
  std::ostringstream text;
  text << source << " does not hold the weights of " << model << ":";
  append(text, "missing", report.missing);
  append(text, "of another shape", report.misshaped);
  append(text, "unexpected", report.unexpected);
  fail("load", text.str());
}

}  // namespace

models::TensorShapes shapes_of(const io::WeightSource& source) {
  models::TensorShapes shapes;
  for (const auto& [name, info] : source.tensors()) shapes[name] = info.extents;
  return shapes;
}

WeightReport compare_weights(const io::WeightSource& source, const models::WeightList& list,
                             const IsUnused& is_unused) {
  const Tensors& tensors = source.tensors();
  WeightReport report;
  std::set<std::string> used;
  for (const WeightSlot& slot : list.slots) {
    for (const WeightPiece& piece : slot.pieces) {
      const auto it = find(tensors, piece.name);
      if (it == tensors.end()) {
        report.missing.push_back(piece.name + " " + piece.shape.str());
        continue;
      }
      const bool first_use = used.insert(it->first).second;
      const WeightInfo& info = it->second;
      if (!first_use) continue;
      if (!same_extents(info, piece.shape)) {
        report.misshaped.push_back(info.name + " is " + info.shape() + ", must be " +
                                   piece.shape.str());
      } else if (!is_packable(info.dtype)) {
        report.misshaped.push_back(info.name + " is of type " + io::name_of(info.dtype) +
                                   ", must be F32, BF16 or F16");
      }
    }
  }
  for (const auto& [name, info] : tensors) {
    if (used.count(name) > 0) continue;
    (is_unused(name) ? report.unused : report.unexpected).push_back(info.name);
  }
  return report;
}

void place_weights(const io::WeightSource* checkpoint, const models::WeightList& list,
                   const WeightTypes& types, Arena& policy, Arena& load_only) {
  for (const WeightSlot& slot : list.slots) {
    Arena& arena = slot.lifetime == Lifetime::kPolicy ? policy : load_only;
    const Shape shape = slot.shape();
    *slot.target = arena.allocate(shape, packed_type(checkpoint, slot, types));
    if (slot.scales) *slot.scales = arena.allocate({1, shape[0]}, DType::kF32);
  }
}

void require_weights(const io::WeightSource& source, const models::WeightList& list,
                     const IsUnused& is_unused, const std::string& name, const std::string& model) {
  const WeightReport report = compare_weights(source, list, is_unused);
  if (!report.fits()) refuse(report, name, model);
}

std::uint64_t read_weights(io::WeightSource& source, const models::WeightList& list,
                           const Stream& stream, const std::string& name,
                           const Progress& progress) {
  std::uint64_t total = 0;
  for (const WeightSlot& slot : list.slots) total += slot.target->bytes();
  WeightSink sink(stream);
  std::uint64_t parameters = 0, done = 0;
  for (const WeightSlot& slot : list.slots) {
    int row = 0;
    for (const WeightPiece& piece : slot.pieces) {
      const auto it = find(source.tensors(), piece.name);
      const Tensor out = slot.target->rows(row, piece.shape[0]);
      const io::WeightView view = source.read(it->first);
      const ColumnRange columns{piece.first_column, piece.columns};
      const bool finite =
          slot.scales ? sink.quantize(view, columns, slot.added,
                                      rows_of({*slot.target, *slot.scales}, row, piece.shape[0]))
                      : sink.pack(view, columns, slot.added, out);
      SACCADE_CHECK(finite, "load", name, ": ", it->second.name,
                    " holds a value that is not finite");
      source.release(it->first);
      row += piece.shape[0];
      parameters += std::uint64_t(out.shape.size());
      done += out.bytes();
      if (progress) progress("loading weights", done, total);
    }
  }
  sink.finish();
  return parameters;
}

}  // namespace saccade
