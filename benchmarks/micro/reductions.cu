// Rates of reductions into global memory, as JSON: what decides between a backward that scatters
// by vector reductions and one that gathers by lists of pixels.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kThreads = 256;
constexpr int kRounds = 9;

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

__device__ void reduce_one(float* target, float value) {
  asm volatile("red.global.add.f32 [%0], %1;" ::"l"(__cvta_generic_to_global(target)), "f"(value)
               : "memory");
}

__device__ void reduce_four(float* target, float value) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "red.global.add.v4.f32 [%0], {%1, %1, %1, %1};" ::"l"(__cvta_generic_to_global(target)),
      "f"(value)
      : "memory");
#else
  for (int i = 0; i < 4; ++i) reduce_one(target + i, value);
#endif
}

// Width floats a thread, warp by warp one behind the other. `distinct` is the number of floats
// that are written before the same addresses come again; with one vector, all meet in it.
template <int Width>
__global__ void __launch_bounds__(kThreads)
    reduce(float* target, int64_t distinct, int64_t vectors) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < vectors;
       i += step) {
    float* at = target + i * Width % distinct;
    if constexpr (Width == 1) {
      reduce_one(at, 1.0f);
    } else {
      reduce_four(at, 1.0f);
    }
  }
}

// The plain read, addition and write of as many floats, for comparison.
__global__ void __launch_bounds__(kThreads) add(float4* target, int64_t distinct, int64_t vectors) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < vectors;
       i += step) {
    float4 value = target[i % distinct];
    value.x += 1.0f, value.y += 1.0f, value.z += 1.0f, value.w += 1.0f;
    target[i % distinct] = value;
  }
}

template <typename Launch>
double seconds(Launch&& launch) {
  cudaEvent_t start, stop;
  check(cudaEventCreate(&start), "cudaEventCreate");
  check(cudaEventCreate(&stop), "cudaEventCreate");
  std::vector<float> times;
  for (int round = 0; round <= kRounds; ++round) {
    check(cudaEventRecord(start), "cudaEventRecord");
    launch();
    check(cudaGetLastError(), "launch");
    check(cudaEventRecord(stop), "cudaEventRecord");
    check(cudaEventSynchronize(stop), "cudaEventSynchronize");
    float milliseconds = 0.0f;
    check(cudaEventElapsedTime(&milliseconds, start, stop), "cudaEventElapsedTime");
    if (round > 0) times.push_back(milliseconds / 1e3f);
  }
  std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
  return times[kRounds / 2];
}

}  // namespace

int main() {
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  constexpr int64_t kFloats = int64_t{1} << 28;  // 1 GiB: far beyond the L2 cache
  const int64_t cached = std::min<int64_t>(device.l2CacheSize / 4 / sizeof(float), kFloats);
  float* memory = nullptr;
  check(cudaMalloc(&memory, kFloats * sizeof(float)), "cudaMalloc");
  check(cudaMemset(memory, 0, kFloats * sizeof(float)), "cudaMemset");
  const int blocks = device.multiProcessorCount * 16;

  struct Region {
    const char* name;
    int64_t distinct, floats;
  };
  const Region regions[] = {
      {"memory", kFloats, kFloats},
      {"L2", cached / 4 * 4, kFloats},
      {"32 floats", 32, kFloats >> 6},
      {"4 floats", 4, kFloats >> 8},
  };
  std::printf("{\"device\": \"%s\", \"sm\": %d, \"l2_bytes\": %d, \"rows\": [", device.name,
              device.multiProcessorCount, device.l2CacheSize);
  const char* separator = "\n";
  for (const Region& region : regions) {
    auto print = [&](const char* kind, double time) {
      std::printf(
          "%s {\"kind\": \"%s\", \"addresses\": \"%s\", \"floats\": %lld, \"seconds\": %.9f, "
          "\"floats_per_second\": %.4e}",
          separator, kind, region.name, static_cast<long long>(region.floats), time,
          static_cast<double>(region.floats) / time);
      separator = ",\n";
    };
    print("red.f32", seconds([&] {
            reduce<1><<<blocks, kThreads>>>(memory, region.distinct, region.floats);
          }));
    print("red.v4.f32", seconds([&] {
            reduce<4><<<blocks, kThreads>>>(memory, region.distinct, region.floats / 4);
          }));
    if (region.distinct > 32) {
      print("load, add, store", seconds([&] {
              add<<<blocks, kThreads>>>(reinterpret_cast<float4*>(memory), region.distinct / 4,
                                        region.floats / 4);
            }));
    }
  }
  std::printf("\n]}\n");
  check(cudaFree(memory), "cudaFree");
  return 0;
}
