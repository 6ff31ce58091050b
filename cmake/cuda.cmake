# Turns CUDA on where an nvcc is that compiles C++20 for sm_90a. SACCADE_CUDA=ON insists on one.
find_program(SACCADE_NVCC nvcc PATHS /usr/local/cuda/bin)
if(SACCADE_NVCC)
  execute_process(COMMAND ${SACCADE_NVCC} --version OUTPUT_VARIABLE nvcc_says)
  string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" nvcc_release "${nvcc_says}")
  set(nvcc_version ${CMAKE_MATCH_1})
endif()

if(nvcc_version VERSION_GREATER_EQUAL 12.0)
  set(cuda_enabled ON)
  message(STATUS "CUDA: on, ${SACCADE_NVCC} ${nvcc_version}")
elseif(SACCADE_CUDA STREQUAL "AUTO")
  message(STATUS "CUDA: off, no nvcc 12.0 or newer")
else()
  message(FATAL_ERROR "SACCADE_CUDA=${SACCADE_CUDA} needs nvcc 12.0 or newer on PATH or in "
                      "/usr/local/cuda/bin")
endif()

if(cuda_enabled)
  set(CMAKE_CUDA_COMPILER ${SACCADE_NVCC})
  set(CMAKE_CUDA_ARCHITECTURES OFF)  # CMake 3.22 does not know 90a; the flag below names it.
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake up to 3.25 does not know it for nvcc.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
  foreach(flag -gencode=arch=compute_90a,code=sm_90a -Werror=all-warnings -Xcompiler=-Wall,-Wextra)
    add_compile_options($<$<COMPILE_LANGUAGE:CUDA>:${flag}>)
  endforeach()
endif()
