#include "cublaslt.h"

namespace saccade::bench {

double cublaslt_us(const Stream&, Tensor, std::span<const Tensor>, DType) { return 0; }

}  // namespace saccade::bench
