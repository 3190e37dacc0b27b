#pragma once

// Reductions into global memory.

#include "vec.cuh"

namespace scrn::cuda {

// target[i] += value[i], each element atomically; `target` is aligned to 16 bytes. The vector
// reduction (from CUDA 12.1 on) and its twin add the same numbers, in no defined order either way.
template <int N>
SCRN_DEVICE void add_vector(float* target, const float (&value)[N]) {
  static_assert(N % 4 == 0, "whole 16-byte vectors");
#if __CUDA_ARCH__ >= 900 && __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1201
#pragma unroll
  for (int i = 0; i < N; i += 4) {
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(__cvta_generic_to_global(target + i)), "f"(value[i]), "f"(value[i + 1]),
                   "f"(value[i + 2]), "f"(value[i + 3])
                 : "memory");
  }
#else
#pragma unroll
  for (int i = 0; i < N; ++i) atomicAdd(target + i, value[i]);
#endif
}

// There is no vector reduction of doubles.
template <int N>
SCRN_DEVICE void add_vector(double* target, const double (&value)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) atomicAdd(target + i, value[i]);
}

}  // namespace scrn::cuda
