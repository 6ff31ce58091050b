#pragma once

/// Before a function that kernels call too.
#ifdef __CUDACC__
#define SACCADE_HOST_DEVICE __host__ __device__
#else
#define SACCADE_HOST_DEVICE
#endif
