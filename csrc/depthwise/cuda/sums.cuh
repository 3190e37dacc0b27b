#pragma once

// Gradients of the weights: every tile adds up its own, over threads and then warps, and the sums
// of all tiles are added in an order of the tiles. So the bits depend on nothing but the shape.

#include "common.cuh"

namespace scrn::depthwise::cuda {

// Adds up each of the values over `kSpan` neighbouring threads, or over as many of them as a warp
// has: the sum of value v over segment i goes to scratch[i * kCount + v].
template <int kSpan>
inline constexpr int kSegment = kSpan < kWarp ? kSpan : kWarp;

template <int kSpan, int kCount, typename A>
SCRN_DEVICE void add_up(const A (&values)[kCount], A* scratch) {
  A sum[kCount];
#pragma unroll
  for (int v = 0; v < kCount; ++v) sum[v] = warp_sum<kSegment<kSpan>>(values[v]);
  if (threadIdx.x % kSegment<kSpan> != 0) return;
  scratch += static_cast<int>(threadIdx.x) / kSegment<kSpan> * kCount;
#pragma unroll
  for (int v = 0; v < kCount; ++v) scratch[v] = sum[v];
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

// Writes what `add_up` left, `kept` values of a span each, to the tile's place in [C,taps,tiles]:
// the first `written` of every channel that there is.
template <int kGroup, int kSpan, int kBlock, typename A>
SCRN_DEVICE void write_tile_sums(const A* scratch, int kept, int written, int taps,
                                 const TileParams& p, const Corner& corner) {
  for (int i = threadIdx.x; i < kGroup * written; i += kBlock) {
    const int c = i / written, v = i % written;
    if (corner.channel + c >= p.shape.channels) break;
    const int64_t at = ((corner.channel + c) * taps + v) * p.tiling.tiles + corner.tile;
    static_cast<A*>(p.partial)[at] = added_up<kSpan>(scratch, kept, c, v);
  }
}

// Of one convolution, or of several together: [C,taps,tiles], and which of the unit's taps.
struct TileSums {
  const void* partial;
  int64_t tiles;
  int first, taps;
};

inline constexpr int kMostParts = 2;

struct SumParams {
  TileSums part[kMostParts];
  int64_t channels;
  int taps;  // of the unit
  DType type;
  void* gradient;  // [C,taps]
};

inline constexpr int kSumThreads = 128;

// Each sum has kLanes threads: a warp, or one where tiles are few.
template <typename A, int kLanes>
__global__ void __launch_bounds__(kSumThreads) sum_tiles_kernel(const SumParams p) {
  const int lane = threadIdx.x % kLanes;
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kSumThreads / kLanes);
  for (int64_t sum = (static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x) / kLanes;
       sum < p.channels * p.taps; sum += step) {
    int64_t channel, tap;
    split(sum, p.taps, channel, tap);
    const TileSums c = tap < p.part[0].taps ? p.part[0] : p.part[1];
    const A* const partial =
        static_cast<const A*>(c.partial) + (channel * c.taps + tap - c.first) * c.tiles;
    double total = 0;
#pragma unroll 4
    for (int64_t i = lane; i < c.tiles; i += kLanes) total += partial[i];
    total = warp_sum<kLanes>(total);
    if (lane == 0) store_any<WeightsOf<A>>(p.gradient, p.type, sum, static_cast<A>(total));
  }
}

template <typename A, int kLanes>
int launch_sums(const SumParams& params, cudaStream_t stream, const LaunchOptions& options) {
  const int64_t blocks = ceil_div(params.channels * params.taps, kSumThreads / kLanes);
  auto* kernel = sum_tiles_kernel<A, kLanes>;
  SCRN_LAUNCH(kernel, grid_of(blocks, options), kSumThreads, 0, stream, params);
  return cudaGetLastError();
}

}  // namespace scrn::depthwise::cuda
