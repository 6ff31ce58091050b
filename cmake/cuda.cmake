# Turns CUDA on where an nvcc is that compiles C++20 for sm_90a with this machine's host compiler.
# SACCADE_CUDA=ON insists on one.
find_program(SACCADE_NVCC nvcc PATHS /usr/local/cuda/bin)
set(cuda_flags -Xcompiler=-Wall,-Wextra)
# Files named *_sm90.cu use Hopper's own instructions. All others run on sm_80 and later: as machine
# code where that is named, through the driver's compiler elsewhere.
set(cuda_hopper_flags -gencode=arch=compute_90a,code=sm_90a)
set(cuda_portable_flags -gencode=arch=compute_80,code=[sm_80,compute_80] ${cuda_hopper_flags})

# Code for several GPUs is large; since 12.8 nvcc can compress it to a seventh.
if(SACCADE_NVCC)
  execute_process(COMMAND ${SACCADE_NVCC} --help OUTPUT_VARIABLE nvcc_help ERROR_QUIET)
  if(nvcc_help MATCHES "--compress-mode")
    list(APPEND cuda_flags --compress-mode=size)
  endif()
endif()

if(SACCADE_NVCC AND NOT DEFINED SACCADE_NVCC_WORKS)
  file(WRITE ${CMAKE_BINARY_DIR}/cuda_probe.cu "#include <concepts>\n__global__ void probe() {}\n")
  execute_process(
    COMMAND ${SACCADE_NVCC} -std=c++20 ${cuda_flags} ${cuda_hopper_flags} -c ${CMAKE_BINARY_DIR}/cuda_probe.cu
            -o ${CMAKE_BINARY_DIR}/cuda_probe.o
    RESULT_VARIABLE nvcc_status OUTPUT_QUIET ERROR_VARIABLE nvcc_says)
  if(nvcc_status EQUAL 0)
    set(SACCADE_NVCC_WORKS ON CACHE INTERNAL "")
  endif()
endif()

if(SACCADE_NVCC_WORKS)
  set(cuda_enabled ON)
  message(STATUS "CUDA: on, ${SACCADE_NVCC}")
elseif(NOT SACCADE_CUDA STREQUAL "AUTO")
  message(FATAL_ERROR "SACCADE_CUDA=${SACCADE_CUDA} needs an nvcc on PATH or in /usr/local/cuda/bin "
                      "that compiles C++20 for sm_90a\n${nvcc_says}")
elseif(SACCADE_NVCC)
  message(STATUS "CUDA: off, ${SACCADE_NVCC} does not compile C++20 for sm_90a here")
else()
  message(STATUS "CUDA: off, there is no nvcc")
endif()

if(cuda_enabled)
  set(CMAKE_CUDA_COMPILER ${SACCADE_NVCC})
  set(CMAKE_CUDA_ARCHITECTURES OFF)  # CMake 3.22 does not know 90a; the flag above names it.
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake up to 3.25 does not know it for nvcc.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
  if(SACCADE_WERROR)
    list(APPEND cuda_flags -Werror=all-warnings)
  endif()
  if(SACCADE_INJECT_DELAYS)
    list(APPEND cuda_flags -DSACCADE_INJECT_DELAYS)
  endif()
  foreach(flag ${cuda_flags})
    add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:${flag}>)
  endforeach()
endif()
