#pragma once

// What the kernels of the family share: types, tiles, weights and launches.

#include <atomic>

#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/types.cuh"
#include "../../common/cuda/warp.cuh"
#include "../params.h"

namespace scrn::depthwise::cuda {

using namespace scrn::cuda;

// Types of maps, and of weights, whose sums are held as A.
template <typename A>
using MapsOf = std::conditional_t<std::is_same_v<A, double>, Types<double>,
                                  Types<float, __half, __nv_bfloat16>>;
template <typename A>
using WeightsOf =
    std::conditional_t<std::is_same_v<A, double>, Types<float, double>, MapsOf<float>>;

// On the host: what f returns for a null pointer of the type in which such a map's sums are held.
template <typename F>
auto with_sums(DType dtype, F&& f) {
  return dtype == DType::kDouble ? f(static_cast<double*>(nullptr))
                                 : f(static_cast<float*>(nullptr));
}

// How the maps are cut up. A block has a tile: some neighbouring channels, some columns, and a band
// of the rows, down which it walks a step of rows at a time.
struct Tiling {
  int64_t columns, bands, groups;  // tiles in a row and in a column of a map; groups of channels
  int64_t tiles;                   // of the same channels, to whose weights' gradients they add
  int64_t total;
  int64_t rows;  // of a band
  int32_t width;
  bool groups_first;  // neighbouring blocks have neighbouring channels, not columns
};

struct TileSize {
  int channels, width, step;
};

// So many blocks are wanted. A band has at least and at most so many steps: what neighbours compute
// twice shall not weigh, nor a sum in float32 become too long.
struct Bands {
  int64_t blocks, least = 1, most = INT32_MAX;
};

// The same on every device.
inline Tiling tiling_of(const UnitShape& s, const TileSize& tile, const Bands& wanted) {
  Tiling t;
  t.columns = ceil_div(s.width, tile.width);
  t.groups = ceil_div(s.channels, tile.channels);
  const int64_t steps = ceil_div(s.height, tile.step);
  const int64_t walks = std::max<int64_t>(1, s.batch * t.groups * t.columns);
  const int64_t bands = std::max(ceil_div(wanted.blocks, walks), ceil_div(steps, wanted.most));
  t.rows = ceil_div(steps, std::min(bands, ceil_div(steps, wanted.least))) * tile.step;
  t.bands = ceil_div(s.height, t.rows);
  t.tiles = s.batch * t.columns * t.bands;
  t.total = t.tiles * t.groups;
  t.width = tile.width;
  t.groups_first = s.channels_last;
  return t;
}

struct Corner {
  int64_t image, channel, tile;  // the first channel; the tile's number among the channel's
  int64_t x0, y0, y1;
};

// Neighbours in memory are neighbours in the grid: they share cache lines.
SCRN_DEVICE Corner corner_of(const Tiling& t, int64_t index, int channels, int64_t height) {
  int64_t rest = index, group = 0, column, band;
  if (t.groups_first) split(rest, t.groups, rest, group);
  split(rest, t.columns, rest, column);
  split(rest, t.bands, rest, band);
  if (!t.groups_first) split(rest, t.groups, rest, group);
  const int64_t y0 = band * t.rows;
  return {rest,
          group * channels,
          (rest * t.bands + band) * t.columns + column,
          column * t.width,
          y0,
          min_of(y0 + t.rows, height)};
}

// What every kernel that works on tiles is told.
struct TileParams {
  UnitShape shape;
  Tiling tiling;
  const void* grad = nullptr;  // of the backward
  const void* input = nullptr;
  const void* weights = nullptr;
  void* output = nullptr;   // or the gradient of the input, null where it is not wanted
  void* partial = nullptr;  // accumulate type, [C,taps,tiles]; null: not wanted
};

inline TileParams params_of(const ForwardParams& p, const Tiling& tiling) {
  return {p.shape, tiling, nullptr, p.input, p.weights, p.output};
}
inline TileParams params_of(const BackwardParams& p, const Tiling& tiling, void* partial) {
  return {p.shape, tiling, p.grad, p.input, p.weights, p.grad_input, partial};
}

// Calls f for every tile of a block, which takes turns with the others; its corner is the whole
// block's: in registers it would be every thread's.
template <int kGroup, typename F>
SCRN_DEVICE void for_tiles(const TileParams& p, Corner& corner, F&& f) {
  for (int64_t index = blockIdx.x; index < p.tiling.total; index += gridDim.x) {
    __syncthreads();
    if (threadIdx.x == 0) corner = corner_of(p.tiling, index, kGroup, p.shape.height);
    __syncthreads();
    f();
  }
}

// Those channels of a group that there are.
SCRN_DEVICE int channels_of(const UnitShape& s, const Corner& corner, int group) {
  return static_cast<int>(min_of(group, s.channels - corner.channel));
}

// Puts `count` of a channel's `taps` weights, from `first` on, to to[place(channel, which)], for
// the channels of a group that there are: what comes of others is not written.
template <int kGroup, int kBlock, typename A, typename Place>
SCRN_DEVICE void load_weights(const TileParams& p, const Corner& corner, int taps, int first,
                              int count, A* to, Place&& place) {
  // Unrolled, its indices would be kept for the next tile, in registers that there are not.
#pragma unroll 1
  for (int i = threadIdx.x; i < kGroup * count; i += kBlock) {
    const int c = i / count, tap = i % count;
    const int64_t channel = corner.channel + c;
    if (channel >= p.shape.channels) continue;
    to[place(c, tap)] =
        load_any<WeightsOf<A>, A>(p.weights, p.shape.weight_dtype, channel * taps + first + tap);
  }
}

// Elements from one image, channel, row and column of a map to the next.
struct Steps {
  int64_t image, channel, row, column;
};

SCRN_HOST_DEVICE Steps steps_of(const UnitShape& s, bool channels_last) {
  const int64_t pixels = int64_t{s.height} * s.width;
  if (channels_last) return {s.channels * pixels, 1, s.width * s.channels, s.channels};
  return {s.channels * pixels, pixels, s.width, 1};
}

// A tile's channels of one image of a map in global memory.
template <typename T>
struct View {
  T* data;
  Steps steps;
  int channels;  // of the group, those that there are
  int height, width;

  SCRN_DEVICE View of(T* map, const Steps& steps, const UnitShape& s, const Corner& corner,
                      int channels) {
    return {map + corner.image * steps.image + corner.channel * steps.channel, steps, channels,
            s.height, s.width};
  }
};

// Every device has so much shared memory for a block that asks for it, beside its tile's corner.
inline constexpr int kSharedEverywhere = (99 << 10) - static_cast<int>(sizeof(Corner));

// More than the 48 KiB that every kernel may have takes asking, once on each device: the kernel
// then may have kMost bytes. As much as the blocks can use that registers leave room for, at the
// expense of the L1 cache: by default the driver may leave room for fewer. Threads that ask at the
// same time ask for the same.
template <auto* kKernel, int kMost>
static int take_shared() {
  constexpr int kWithoutAsking = (48 << 10) - static_cast<int>(sizeof(Corner)), kDevices = 64;
  static std::atomic<bool> is_taken[kDevices];
  int device = 0;
  if (const int error = cudaGetDevice(&device)) return error;
  if (device < kDevices && is_taken[device].load(std::memory_order_acquire)) return 0;
  const void* const function = reinterpret_cast<const void*>(kKernel);
  if constexpr (kMost > kWithoutAsking) {
    const int error =
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, kMost);
    if (error != 0) return error;
  }
  const int error = cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout,
                                         cudaSharedmemCarveoutMaxShared);
  if (error == 0 && device < kDevices) is_taken[device].store(true, std::memory_order_release);
  return error;
}

// A launch of as many blocks as there are tiles, none if there are none. kMost: bytes of the
// largest of all launches of the kernel.
template <auto* kKernel, int kMost, typename Params>
int launch_tiles(int threads, int bytes, const Params& params, cudaStream_t stream,
                 const LaunchOptions& options) {
  if (params.tiling.total == 0) return 0;
  if (const int error = take_shared<kKernel, kMost>()) return error;
  auto* kernel = kKernel;
  SCRN_LAUNCH(kernel, grid_of(params.tiling.total, options), threads, bytes, stream, params);
  return cudaGetLastError();
}

}  // namespace scrn::depthwise::cuda
