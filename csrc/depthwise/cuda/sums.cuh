#pragma once

// From the sums of tiles to the gradient of weights and biases, in the order of the tiles.

#include "convolve.cuh"

namespace scrn::depthwise::cuda {

// Of one convolution: [C,taps,tiles], and which of the unit's taps they are.
struct TileSums {
  const void* partial;
  int64_t tiles;
  int first, taps;
};

inline constexpr int kMostConvolutions = 2;

struct SumParams {
  TileSums convolution[kMostConvolutions];
  int64_t channels;
  int taps;  // of the unit
  DType type;
  void* gradient;  // [C,taps]
};

inline constexpr int kSumThreads = 128;

// A warp for each sum.
template <typename A>
__global__ void __launch_bounds__(kSumThreads) sum_tiles_kernel(const SumParams p) {
  const int lane = threadIdx.x % kWarp;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (kSumThreads / kWarp);
  for (int64_t sum = (static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x) / kWarp;
       sum < p.channels * p.taps; sum += warps) {
    int64_t channel, tap;
    split(sum, p.taps, channel, tap);
    const TileSums c = tap < p.convolution[0].taps ? p.convolution[0] : p.convolution[1];
    const A* const partial =
        static_cast<const A*>(c.partial) + (channel * c.taps + tap - c.first) * c.tiles;
    double total = 0;
    for (int64_t i = lane; i < c.tiles; i += kWarp) total += partial[i];
    total = warp_sum(total);
    if (lane == 0) store_any<AnyType>(p.gradient, p.type, sum, static_cast<A>(total));
  }
}

template <typename A>
int launch_sums(const SumParams& params, cudaStream_t stream, const LaunchOptions& options) {
  auto* kernel = sum_tiles_kernel<A>;
  SCRN_LAUNCH(kernel,
              grid_of(ceil_div(params.channels * params.taps, kSumThreads / kWarp), options),
              kSumThreads, 0, stream, params);
  return cudaGetLastError();
}

}  // namespace scrn::depthwise::cuda
