#pragma once

// Gradient of the input as a gather over lists of pixels: every cell sums what the pixels add to
// it in a fixed order, hence the same bits whatever the order of threads and blocks, and in the
// features' own type at once.

#include "../../common/cuda/held_channels.cuh"
#include "pixel_lists.cuh"

namespace scrn::srm::cuda {

struct GatherPlan {
  int64_t blocks = 0, blocks_per_image = 0, slabs = 0;
  int32_t holders = 0;   // channels_last: threads that share the channels of a cell
  bool aligned = false;  // channels_last: 16-byte accesses
};

// The weight with which a pixel's taps add to `cell`, the last cell standing for all behind it.
template <typename A>
SCRN_DEVICE A weight_on(const TapWeights<A>& taps, int cell, int last) {
  A sum = A(0);
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    if (at_most(taps.first + r, last) == cell) sum += taps.weight[r];
  }
  return sum;
}

// The stretch of the sorted pixels whose base cell lies in row `y` and columns x - 2 to x.
template <typename Index>
SCRN_DEVICE Span<Index> span_of_row(const Span<Index>* spans, int y, int x, int width) {
  Span<Index> row = {0, 0};
  if (y < 0) return row;
#pragma unroll
  for (int back = 2; back >= 0; --back) {
    if (x - back < 0) continue;
    const Span<Index> cell = spans[static_cast<Index>(y) * width + (x - back)];
    if (cell.end == 0) continue;
    if (row.end == 0) row.begin = cell.begin;
    row.end = cell.end;
  }
  return row;
}

// A unit of which every pixel has the same base cell is summed here, once for the nine cells that
// it adds to: a list of any length costs no more than its pixels. Thread = channel.
template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads)
    unit_sums_kernel(const SampleBackwardParams p, const PixelLists<Accumulate<T>, Index> lists,
                     const Index* keys, const Index* pixels, int64_t slabs) {
  using A = Accumulate<T>;
  const int64_t channels = p.shape.channels;
  const Index channel_stride = p.shape.channels_last ? 1 : static_cast<Index>(lists.pixels);
  const Index pixel_stride = p.shape.channels_last ? static_cast<Index>(channels) : 1;
  for (int64_t work = blockIdx.x; work < lists.batch * lists.units * slabs; work += gridDim.x) {
    int64_t unit, slab, image, first;
    split(work, slabs, unit, slab);
    split(unit, lists.units, image, first);
    first = image * lists.pixels + first * kUnit;
    const int64_t c = slab * kThreads + threadIdx.x;
    if (keys[first] >= lists.cells || keys[first] != keys[first + kUnit - 1] || c >= channels) {
      continue;
    }
    const T* above = static_cast<const T*>(p.grad_output) + image * lists.pixels * channels +
                     static_cast<Index>(c) * channel_stride;
    const TapWeights<A>* taps_x = lists.taps + image * lists.pixels;
    const TapWeights<A>* taps_y = taps_x + lists.batch * lists.pixels;
    A sums[3][3];
#pragma unroll
    for (int r = 0; r < 3; ++r) {
#pragma unroll
      for (int q = 0; q < 3; ++q) sums[r][q] = A(0);
    }
#pragma unroll 2
    for (int i = 0; i < kUnit; ++i) {
      const Index pixel = pixels[first + i];
      const TapWeights<A> tx = taps_x[pixel], ty = taps_y[pixel];
      const A u = widen(above[pixel * pixel_stride]);
#pragma unroll
      for (int r = 0; r < 3; ++r) {
#pragma unroll
        for (int q = 0; q < 3; ++q) {
          const A weight = ty.weight[r] * tx.weight[q];
          if (weight != A(0)) sums[r][q] += weight * u;
        }
      }
    }
    A* out = lists.unit_sums + unit * 9 * channels + c;
#pragma unroll
    for (int k = 0; k < 9; ++k) out[k * channels] = sums[k / 3][k % 3];
  }
}

// Where a walk along a stretch stands: at a whole unit of one base cell, whose sums are ready, or
// at so many single pixels before the next.
template <typename Index>
SCRN_DEVICE bool at_ready_unit(const Index* keys, Index at, Index end) {
  return at % kUnit == 0 && end - at >= kUnit && keys[at] == keys[at + kUnit - 1];
}
template <typename Index>
SCRN_DEVICE Index singles(Index at, Index end) {
  const Index boundary = kUnit - at % kUnit;
  return end - at < boundary ? end - at : boundary;
}

// add(k) for those of the unit's nine sums that go to cell (y, x).
template <typename F>
SCRN_DEVICE void for_unit_sums(int base_y, int base_x, int y, int x, int last_y, int last_x,
                               F&& add) {
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    if (at_most(base_y + r, last_y) != y) continue;
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      if (at_most(base_x + q, last_x) == x) add(r * 3 + q);
    }
  }
}

// Blocks to a multiprocessor. Unasked, the compiler takes 229 registers for a half type on sm_100,
// which leaves two blocks, and spills for float on sm_80.
template <typename T>
inline constexpr int kGatherBlocks = sizeof(T) == 2 ? 4 : 5;

// channels_last: a few lanes, a power of two, share the channels of a cell. Each fetches one pixel
// of the list with its weight, and all take them in turn.
template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads, kGatherBlocks<T>)
    gather_channels_last_kernel(const SampleBackwardParams p,
                                const PixelLists<Accumulate<T>, Index> lists, const Index* keys,
                                const Index* pixels, const GatherPlan plan) {
  using A = Accumulate<T>;
  constexpr int V = kVector<T>;
  constexpr int kAtOnce = 4;
  const SampleShape& s = p.shape;
  const Index channels = static_cast<Index>(s.channels);
  const int last_y = s.in_h - 1, last_x = s.in_w - 1;
  const int holder = static_cast<int>(threadIdx.x) & (plan.holders - 1);
  const int cells_per_block = kThreads / plan.holders;
  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    int64_t image, rest, block, slab, line, column;
    split(work, plan.blocks_per_image, image, rest);
    split(rest, plan.slabs, block, slab);
    const int64_t cell = block * cells_per_block + threadIdx.x / plan.holders;
    const bool live = cell < lists.cells;
    split(live ? cell : 0, s.in_w, line, column);
    const int y = static_cast<int>(line), x = static_cast<int>(column);
    const auto held =
        HeldChannels<T, V, Index>::make(plan.aligned, slab, plan.holders, holder, s.channels);
    const int64_t first = image * lists.pixels;
    const T* above = static_cast<const T*>(p.grad_output) + first * s.channels;
    const TapWeights<A>* taps_x = lists.taps + first;
    const TapWeights<A>* taps_y = taps_x + lists.batch * lists.pixels;

    A sum[V];
#pragma unroll
    for (int e = 0; e < V; ++e) sum[e] = A(0);
    for (int back = 0; back < 3; ++back) {
      Span<Index> span = {0, 0};
      if (live) span = span_of_row(lists.spans + image * lists.cells, y - back, x, s.in_w);
      while (__any_sync(kFullWarp, span.begin < span.end)) {
        int count = 0;
        A weight = A(0);
        Index pixel = 0;
        if (span.begin < span.end && at_ready_unit(keys + first, span.begin, span.end)) {
          const int base_x =
              static_cast<int>(keys[first + span.begin] - static_cast<Index>(y - back) * s.in_w);
          const A* sums =
              lists.unit_sums + (image * lists.units + span.begin / kUnit) * 9 * s.channels;
          for_unit_sums(y - back, base_x, y, x, last_y, last_x, [&](int k) {
#pragma unroll
            for (int e = 0; e < V; ++e) {
              const Index c = held.first + e * held.step;
              if (c < held.end) sum[e] += sums[k * channels + c];
            }
          });
          span.begin += kUnit;
        } else if (span.begin < span.end) {
          count = static_cast<int>(min_of(singles(span.begin, span.end), plan.holders));
          if (holder < count) {
            pixel = pixels[first + span.begin + holder];
            weight = weight_on(taps_y[pixel], y, last_y) * weight_on(taps_x[pixel], x, last_x);
          }
          span.begin += count;
        }
        for (int i = 0; __any_sync(kFullWarp, i < count); i += kAtOnce) {
          A factor[kAtOnce];
          Packed<T, V> words[kAtOnce];
#pragma unroll
          for (int j = 0; j < kAtOnce; ++j) {
            const A shared_weight = __shfl_sync(kFullWarp, weight, i + j, plan.holders);
            const Index shared_pixel = __shfl_sync(kFullWarp, pixel, i + j, plan.holders);
            factor[j] = i + j < count ? shared_weight : A(0);
            words[j] = packed_zeros<T, V>();
            if (factor[j] != A(0)) words[j] = load_held(above + shared_pixel * channels, held);
          }
#pragma unroll
          for (int j = 0; j < kAtOnce; ++j) {
            A value[V];
            unpack<T>(words[j], value);
#pragma unroll
            for (int e = 0; e < V; ++e) sum[e] += factor[j] * value[e];
          }
        }
      }
    }
    if (live) {
      T* out = static_cast<T*>(p.grad_input) + (image * lists.cells + cell) * s.channels;
      store_held(out, held, sum);
    }
  }
}

// NCHW: thread = cell, a few planes at a time.
inline constexpr int kGatherPlanes = 8;

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads)
    gather_planes_kernel(const SampleBackwardParams p, const PixelLists<Accumulate<T>, Index> lists,
                         const Index* keys, const Index* pixels, const GatherPlan plan) {
  using A = Accumulate<T>;
  const SampleShape& s = p.shape;
  const int last_y = s.in_h - 1, last_x = s.in_w - 1;
  const Index out_plane = static_cast<Index>(lists.pixels);
  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    int64_t image, rest, block, slab, line, column;
    split(work, plan.blocks_per_image, image, rest);
    split(rest, plan.slabs, block, slab);
    const int64_t cell = block * kThreads + threadIdx.x;
    if (cell >= lists.cells) continue;
    split(cell, s.in_w, line, column);
    const int y = static_cast<int>(line), x = static_cast<int>(column);
    const int64_t c0 = slab * kGatherPlanes;
    const int planes = static_cast<int>(min_of(kGatherPlanes, s.channels - c0));
    const int64_t first = image * lists.pixels;
    const T* above = static_cast<const T*>(p.grad_output) + first * s.channels + c0 * lists.pixels;
    const TapWeights<A>* taps_x = lists.taps + first;
    const TapWeights<A>* taps_y = taps_x + lists.batch * lists.pixels;

    A sum[kGatherPlanes];
#pragma unroll
    for (int i = 0; i < kGatherPlanes; ++i) sum[i] = A(0);
    for (int back = 0; back < 3; ++back) {
      Span<Index> span = span_of_row(lists.spans + image * lists.cells, y - back, x, s.in_w);
      while (span.begin < span.end) {
        if (at_ready_unit(keys + first, span.begin, span.end)) {
          const int base_x =
              static_cast<int>(keys[first + span.begin] - static_cast<Index>(y - back) * s.in_w);
          const A* sums =
              lists.unit_sums + (image * lists.units + span.begin / kUnit) * 9 * s.channels + c0;
          for_unit_sums(y - back, base_x, y, x, last_y, last_x, [&](int k) {
#pragma unroll
            for (int i = 0; i < kGatherPlanes; ++i) {
              if (i < planes) sum[i] += sums[k * s.channels + i];
            }
          });
          span.begin += kUnit;
          continue;
        }
        const Index stop = span.begin + singles(span.begin, span.end);
        for (; span.begin < stop; ++span.begin) {
          const Index pixel = pixels[first + span.begin];
          const A weight =
              weight_on(taps_y[pixel], y, last_y) * weight_on(taps_x[pixel], x, last_x);
          if (weight == A(0)) continue;
#pragma unroll
          for (int i = 0; i < kGatherPlanes; ++i) {
            if (i < planes) sum[i] += weight * widen(above[i * out_plane + pixel]);
          }
        }
      }
    }
    T* out = static_cast<T*>(p.grad_input) + (image * s.channels + c0) * lists.cells + cell;
#pragma unroll
    for (int i = 0; i < kGatherPlanes; ++i) {
      if (i < planes) out[i * lists.cells] = narrow<T>(sum[i]);
    }
  }
}

inline GatherPlan plan_gather(const SampleBackwardParams& p, int vector) {
  const SampleShape& s = p.shape;
  const int64_t cells = static_cast<int64_t>(s.in_h) * s.in_w;
  GatherPlan plan;
  if (s.channels_last) {
    plan.aligned = s.channels % vector == 0 && aligned16(p.grad_output) && aligned16(p.grad_input);
    plan.holders = 1;
    while (plan.holders < 32 && plan.holders * vector < s.channels) plan.holders *= 2;
    plan.slabs = ceil_div(s.channels, plan.holders * vector);
    plan.blocks_per_image = ceil_div(cells, kThreads / plan.holders) * plan.slabs;
  } else {
    plan.slabs = ceil_div(s.channels, kGatherPlanes);
    plan.blocks_per_image = ceil_div(cells, kThreads) * plan.slabs;
  }
  plan.blocks = plan.blocks_per_image * s.batch;
  return plan;
}

template <typename T, typename Index>
int launch_gather(const SampleBackwardParams& p, cudaStream_t stream,
                  const LaunchOptions& options) {
  const auto lists = lay_out_lists<Accumulate<T>, Index>(p.shape, p.workspace);
  int error = launch_pixel_lists<T, Index>(p, lists, stream, options);
  if (error != 0) return error;
  const Index* keys = lists.sorted_keys();
  const Index* pixels = lists.sorted_pixels();
  const int64_t slabs = ceil_div(p.shape.channels, kThreads);
  if (lists.units > 0) {
    auto* kernel = unit_sums_kernel<T, Index>;
    SCRN_LAUNCH(kernel, grid_of(lists.batch * lists.units * slabs, options), kThreads, 0, stream, p,
                lists, keys, pixels, slabs);
    error = cudaGetLastError();
    if (error != 0) return error;
  }
  const GatherPlan plan = plan_gather(p, kVector<T>);
  auto* kernel = p.shape.channels_last ? gather_channels_last_kernel<T, Index>
                                       : gather_planes_kernel<T, Index>;
  SCRN_LAUNCH(kernel, grid_of(plan.blocks, options), kThreads, 0, stream, p, lists, keys, pixels,
              plan);
  return cudaGetLastError();
}

}  // namespace scrn::srm::cuda
