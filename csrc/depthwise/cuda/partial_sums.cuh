#pragma once

// Gradients of the weights: every tile adds up its own, and then they are added in the order of
// the tiles. So the bits depend on nothing but the shape.

#include "common.cuh"

namespace scrn::depthwise::cuda {

// Adds up each of the values over `kSpan` neighbouring threads, or over as many of them as a warp
// has: the sum of value v over segment i goes to scratch[i * kCount + v].
template <int kSpan>
inline constexpr int kSegment = kSpan < kWarp ? kSpan : kWarp;

template <int kSpan, int kCount, typename A>
SCRN_DEVICE void add_up(const A (&values)[kCount], A* scratch) {
  const int segment = static_cast<int>(threadIdx.x) / kSegment<kSpan>;
  const bool leads = threadIdx.x % kSegment<kSpan> == 0;
#pragma unroll
  for (int v = 0; v < kCount; ++v) {
    A sum = values[v];
#pragma unroll
    for (int distance = kSegment<kSpan> / 2; distance > 0; distance /= 2) {
      sum += __shfl_xor_sync(kFullWarp, sum, distance);
    }
    if (leads) scratch[segment * kCount + v] = sum;
  }
}

// What `add_up` left of value v for the threads of number `span`.
template <int kSpan, typename A>
SCRN_DEVICE A added_up(const A* scratch, int count, int span, int v) {
  constexpr int kSegments = kSpan / kSegment<kSpan>;
  A sum = 0;
#pragma unroll
  for (int i = 0; i < kSegments; ++i) sum += scratch[(span * kSegments + i) * count + v];
  return sum;
}

// Where the gradients of the weights come from and go to.
struct PartialSums {
  const void* partial;  // [channels, parts, taps], accumulate type
  void* grad_weights;   // [channels, taps]
  DType weight_dtype;
  int64_t channels, parts;
  int taps;
};

template <typename A>
__global__ void __launch_bounds__(kThreads) partial_sums_kernel(PartialSums p) {
  const int64_t count = p.channels * p.taps;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += threads) {
    int64_t channel, tap;
    split(i, p.taps, channel, tap);
    const A* const parts = static_cast<const A*>(p.partial) + channel * p.parts * p.taps + tap;
    double sum = 0;
#pragma unroll 4
    for (int64_t part = 0; part < p.parts; ++part) sum += parts[part * p.taps];
    store_any<WeightsOf<A>>(p.grad_weights, p.weight_dtype, i, static_cast<A>(sum));
  }
}

template <typename A>
int launch_partial_sums(const PartialSums& p, cudaStream_t stream, const LaunchOptions& options) {
  auto* kernel = partial_sums_kernel<A>;
  SCRN_LAUNCH(kernel, grid_of(ceil_div(p.channels * p.taps, kThreads), options), kThreads, 0,
              stream, p);
  return cudaGetLastError();
}

}  // namespace scrn::depthwise::cuda
