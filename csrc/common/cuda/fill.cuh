#pragma once

// The small kernels around a reduction: zeros before it, the cast of fp32 sums after it.

#include "launch.cuh"

namespace scrn::cuda {

// `target` is aligned to 2 bytes, and `bytes` a multiple of 2.
static __global__ void __launch_bounds__(kThreads) zero_kernel(void* target, int64_t bytes) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * kThreads;
  unsigned char* place = static_cast<unsigned char*>(target);
  int64_t done = 0;
  if (reinterpret_cast<uintptr_t>(target) % 16 == 0) {
    done = bytes / 16 * 16;
    for (int64_t i = thread * 16; i < done; i += threads * 16) {
      store_packed<16>(place + i, packed_zeros<unsigned char, 16>());
    }
  }
  for (int64_t i = done + thread * 2; i < bytes; i += threads * 2) {
    *reinterpret_cast<uint16_t*>(place + i) = 0;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    narrow_kernel(const float* source, T* target, int64_t count) {
  constexpr int V = kVector<T>;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * kThreads;
  int64_t done = 0;
  if (reinterpret_cast<uintptr_t>(target) % 16 == 0) {
    done = count / V * V;
    for (int64_t i = thread * V; i < done; i += threads * V) {
      float value[V];
#pragma unroll
      for (int half = 0; half < V; half += 4) {
        float part[4];
        unpack<float>(load_packed<4>(source + i + half), part);
#pragma unroll
        for (int e = 0; e < 4; ++e) value[half + e] = part[e];
      }
      store_packed<V>(target + i, pack<T>(value));
    }
  }
  for (int64_t i = done + thread; i < count; i += threads) target[i] = narrow<T>(source[i]);
}

inline constexpr int64_t kFillBlocks = 4096;

inline int launch_zero(void* target, int64_t bytes, cudaStream_t stream,
                       const LaunchOptions& options) {
  const int64_t blocks = std::min(ceil_div(bytes, 16 * kThreads), kFillBlocks);
  if (blocks == 0) return 0;
  SCRN_LAUNCH(zero_kernel, grid_of(blocks, options), kThreads, 0, stream, target, bytes);
  return cudaGetLastError();
}

// `source` is aligned to 16 bytes.
template <typename T>
int launch_narrow(const float* source, T* target, int64_t count, cudaStream_t stream,
                  const LaunchOptions& options) {
  const int64_t blocks = std::min(ceil_div(count, kVector<T> * kThreads), kFillBlocks);
  if (blocks == 0) return 0;
  SCRN_LAUNCH(narrow_kernel<T>, grid_of(blocks, options), kThreads, 0, stream, source, target,
              count);
  return cudaGetLastError();
}

}  // namespace scrn::cuda
