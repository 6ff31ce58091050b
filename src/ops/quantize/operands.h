#pragma once

#include <string_view>

#include "ops/dispatch.h"
#include "saccade/ops/quantize.h"

namespace saccade::ops::detail {

/// What every op asks of a matrix that may have scales: they are given with e4m3 and with nothing
/// else. The values are checked to be given elsewhere.
void check_scaled(std::string_view op, const Stream&, Named values, const Tensor& scales);

/// A result in e4m3 with its scales, of another tensor's shape and apart from it.
void check_e4m3(std::string_view op, const Stream&, const char* name, const ScaledMatrix&,
                Named like);

/// What every op asks of `quantized` beside out [m, n]: it may be absent.
void check_quantized(std::string_view op, const Stream&, const ScaledMatrix& quantized,
                     const Tensor& out);

}  // namespace saccade::ops::detail
