#include "saccade/policy.h"

namespace saccade {

const char* name_of(Model model) { return model == Model::kPi0 ? "pi0" : "pi05"; }
const char* name_of(Mode mode) { return mode == Mode::kOpenpi ? "openpi" : "lerobot"; }
const char* name_of(Precision precision) { return precision == Precision::kF32 ? "f32" : "bf16"; }

}  // namespace saccade
