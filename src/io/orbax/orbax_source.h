#pragma once

#include <memory>

#include "io/orbax/files.h"
#include "io/orbax/ocdbt.h"
#include "io/weight_source.h"

namespace saccade::io::orbax {

/// The zarr arrays among `values` as weights.
std::unique_ptr<WeightSource> make_source(std::unique_ptr<Files> files, const KeyValues& values);

}  // namespace saccade::io::orbax
