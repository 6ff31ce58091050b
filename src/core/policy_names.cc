#include "saccade/policy.h"

namespace saccade {

const char* name_of(Model model) { return model == Model::kPi0 ? "pi0" : "pi05"; }
const char* name_of(Mode mode) { return mode == Mode::kOpenpi ? "openpi" : "lerobot"; }

}  // namespace saccade
