// How fast a device adds into global memory, which decides how a backward kernel scatters: float
// by float or in vectors of four, coalesced, and with many threads at one address. Prints JSON.
// The counts that the additions leave are checked; a wrong one is an error, not a rate.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <vector>

#include "common/cuda/atomics.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int kRuns = 9;
constexpr int64_t kCached = 16 << 20;     // bytes, within any L2 cache
constexpr int64_t kUncached = 512 << 20;  // bytes, beyond any

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// A warp adds to one row of `rows` (a power of two): N floats a lane, side by side
// (`spread` = 1) or all lanes to the same ones (`spread` = 0). Rows are `pitch` floats apart.
template <int N>
__global__ void __launch_bounds__(kThreads)
    add_kernel(float* target, int64_t rows, int64_t pitch, int spread, int iterations) {
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (kThreads / 32);
  int64_t warp = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  const int64_t lane = (threadIdx.x % 32) * static_cast<int64_t>(N) * spread;
  for (int i = 0; i < iterations; ++i, warp += warps) {
    float* to = target + (warp & (rows - 1)) * pitch + lane;
    if constexpr (N == 1) {
      atomicAdd(to, 1.0f);
    } else {
      const float ones[4] = {1.0f, 1.0f, 1.0f, 1.0f};
      scrn::cuda::add_vector(to, ones);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    count_wrong(const float* target, int64_t rows, int64_t pitch, int width, float expected,
                unsigned long long* wrong) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < rows * width;
       i += step) {
    if (!(target[i / width * pitch + i % width] == expected)) atomicAdd(wrong, 1ull);
  }
}

__global__ void __launch_bounds__(kThreads)
    copy_kernel(const float4* __restrict__ from, float4* __restrict__ to, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step)
    to[i] = from[i];
}

struct Times {
  double best, median;
};

// Seconds of `launch`; `reset` runs before each and is not timed.
template <class Reset, class Launch>
Times measure(Reset reset, Launch launch) {
  cudaEvent_t start, stop;
  check(cudaEventCreate(&start), "event");
  check(cudaEventCreate(&stop), "event");
  std::vector<double> seconds;
  for (int run = 0; run <= kRuns; ++run) {
    reset();
    check(cudaEventRecord(start), "record");
    launch();
    check(cudaEventRecord(stop), "record");
    check(cudaGetLastError(), "launch");
    check(cudaEventSynchronize(stop), "kernel");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start, stop), "elapsed time");
    if (run > 0) seconds.push_back(milliseconds * 1e-3);  // the first warms up
  }
  check(cudaEventDestroy(start), "event");
  check(cudaEventDestroy(stop), "event");
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2]};
}

struct Pattern {
  const char* name;
  int64_t rows;   // distinct; a power of two
  int64_t pitch;  // floats
  int spread;
  int64_t warp_additions;  // of all warps together; a multiple of rows
};

template <int N>
void measure_additions(const Pattern& pattern, const char* instruction, int blocks, float* target,
                       unsigned long long* wrong, bool& right) {
  const int64_t warps = static_cast<int64_t>(blocks) * (kThreads / 32);
  const int iterations = static_cast<int>((pattern.warp_additions + warps - 1) / warps);
  const int64_t done = warps * iterations;
  const size_t bytes = static_cast<size_t>(pattern.rows * pattern.pitch) * sizeof(float);
  const Times times =
      measure([&] { check(cudaMemset(target, 0, bytes), "memset"); },
              [&] {
                add_kernel<N><<<blocks, kThreads>>>(target, pattern.rows, pattern.pitch,
                                                    pattern.spread, iterations);
              });
  const int width = N * (pattern.spread ? 32 : 1);
  const float expected = static_cast<float>(done / pattern.rows * (pattern.spread ? 1 : 32));
  check(cudaMemset(wrong, 0, sizeof(*wrong)), "memset");
  count_wrong<<<blocks, kThreads>>>(target, pattern.rows, pattern.pitch, width, expected, wrong);
  unsigned long long found = 0;
  check(cudaMemcpy(&found, wrong, sizeof(found), cudaMemcpyDeviceToHost), "copy");
  if (found > 0) {
    std::fprintf(stderr, "%s, %s: %llu sums are wrong\n", pattern.name, instruction, found);
    right = false;
    return;
  }
  const double floats = static_cast<double>(done) * 32 * N;
  std::printf(
      ",\n  {\"kind\": \"%s\", \"addresses\": \"%s\", \"rows\": %lld, \"floats\": %.0f, "
      "\"seconds_best\": %.4g, \"seconds_median\": %.4g, \"floats_per_second\": %.5g}",
      instruction, pattern.name, static_cast<long long>(pattern.rows), floats, times.best,
      times.median, floats / times.best);
}

}  // namespace

int main() {
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "no CUDA device");
  // A power of two, so that warps reach all rows equally often.
  int blocks = 1;
  while (blocks < 8 * device.multiProcessorCount) blocks *= 2;

  float *first = nullptr, *second = nullptr;
  unsigned long long* wrong = nullptr;
  check(cudaMalloc(&first, kUncached), "allocation");
  check(cudaMalloc(&second, kUncached), "allocation");
  check(cudaMalloc(&wrong, sizeof(*wrong)), "allocation");
  check(cudaMemset(second, 0, kUncached), "memset");

  const Times copy =
      measure([] {},
              [&] {
                copy_kernel<<<blocks, kThreads>>>(reinterpret_cast<const float4*>(second),
                                                  reinterpret_cast<float4*>(first), kUncached / 16);
              });
  std::printf(
      "{\"device\": \"%s\", \"capability\": \"%d.%d\", \"multiprocessors\": %d, \"l2_bytes\": %d,\n"
      " \"rows\": [\n  {\"kind\": \"copy\", \"addresses\": \"beyond the cache\", \"bytes\": %lld, "
      "\"seconds_best\": %.4g, \"seconds_median\": %.4g, \"bytes_per_second\": %.5g, "
      "\"floats_per_second\": %.5g}",
      device.name, device.major, device.minor, device.multiProcessorCount, device.l2CacheSize,
      static_cast<long long>(2 * kUncached), copy.best, copy.median, 2 * kUncached / copy.best,
      kUncached / 4 / copy.best);

  bool right = true;
  const auto additions = [&](auto width, const char* instruction) {
    constexpr int N = decltype(width)::value;
    constexpr int64_t row = 32 * N;  // floats
    const int64_t cached = kCached / (4 * row), uncached = kUncached / (4 * row);
    const Pattern patterns[] = {
        {"coalesced, in the cache", cached, row, 1, 16 * cached},
        {"coalesced, beyond the cache", uncached, row, 1, uncached},
        {"all warps at one row", 1, row, 1, 1 << 17},
        {"a warp at one address, warps apart", 1 << 14, 32, 0, 1 << 18},
        {"all at one address", 1, 32, 0, 1 << 16},
    };
    for (const Pattern& pattern : patterns)
      measure_additions<N>(pattern, instruction, blocks, first, wrong, right);
  };
  additions(std::integral_constant<int, 1>{}, "red.f32");
  if (device.major >= 9) additions(std::integral_constant<int, 4>{}, "red.v4.f32");
  std::printf("\n ]}\n");
  return right ? 0 : 1;
}
