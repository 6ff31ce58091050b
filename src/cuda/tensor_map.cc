#include "cuda/tensor_map.h"

#include <cudaTypedefs.h>

#include <array>
#include <string>

#include "cuda/launch.h"

namespace saccade::cuda {
namespace {

/// The driver's function, asked of the runtime so that nothing links against the driver.
PFN_cuTensorMapEncodeTiled_v12000 encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  SACCADE_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                      cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess) {
    throw DeviceError("the driver has no tensor maps: it is older than CUDA 12.0");
  }
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

CUtensorMapDataType type_of(DType dtype) {
  if (dtype == DType::kE4m3) return CU_TENSOR_MAP_DATA_TYPE_UINT8;
  return dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
}

}  // namespace

CUtensorMap make_tensor_map(const void* data, DType dtype, std::span<const MapAxis> axes) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = encode_function();
  constexpr std::size_t kMaxRank = 5;
  std::array<cuuint64_t, kMaxRank> extents{};
  std::array<cuuint64_t, kMaxRank> strides{};
  std::array<cuuint32_t, kMaxRank> box{};
  std::array<cuuint32_t, kMaxRank> element_strides{1, 1, 1, 1, 1};
  for (std::size_t i = 0; i < axes.size(); ++i) {
    extents[i] = cuuint64_t(axes[i].extent);
    box[i] = cuuint32_t(axes[i].box);
    if (i > 0) strides[i - 1] = cuuint64_t(axes[i].stride) * size_of(dtype);
  }
  CUtensorMap map;
  const CUresult result = encode(
      &map, type_of(dtype), cuuint32_t(axes.size()), const_cast<void*>(data), extents.data(),
      strides.data(), box.data(), element_strides.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw DeviceError("cuTensorMapEncodeTiled failed with " + std::to_string(int(result)));
  }
  return map;
}

}  // namespace saccade::cuda
