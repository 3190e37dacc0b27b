#pragma once

// The few words in which kernel sources differ between nvcc, the host compiler and the
// test build that executes CUDA kernels on the CPU (it defines SCRN_CUDA_ON_CPU and supplies
// the shared-memory and launch macros itself).
#if defined(__CUDACC__)
#define SCRN_HOST_DEVICE static __host__ __device__ __forceinline__
#define SCRN_DEVICE static __device__ __forceinline__
#else
// Internal linkage: the CPU kernels include these headers once per instruction set, and a
// merged inline function could carry AVX-512 code into the portable path.
#define SCRN_HOST_DEVICE static inline __attribute__((always_inline))
#define SCRN_DEVICE static inline __attribute__((always_inline))
#endif

#if defined(__CUDACC__)
#define SCRN_SHARED(type, name, extents) __shared__ type name extents
#define SCRN_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char scrn_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(scrn_dynamic_shared)
#define SCRN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
#endif
