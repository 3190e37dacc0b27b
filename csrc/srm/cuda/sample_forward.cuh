#pragma once

// Eq. 4, with Eq. 3 in front of it and the skip behind it, in one kernel per layout.

#include "common.cuh"

namespace scrn::cuda {

// Sampling point of output pixel (y, x) in dimension dim, `mask` being its nine weights if any.
template <typename T, typename Index, typename A>
SCRN_DEVICE A sampling_offset(const SampleForwardParams& p, int64_t image, int dim, int y, int x,
                              const A (&mask)[9]) {
  const SampleShape& s = p.shape;
  const Index pixels = static_cast<Index>(s.out_h) * s.out_w;
  const int64_t first = (image * 2 + dim) * pixels;
  if (p.mask == nullptr) {
    return load_any<OffsetTypes<T>, A>(p.offset, p.offset_dtype,
                                       first + static_cast<Index>(y) * s.out_w + x);
  }
  return weigh_neighbours<OffsetTypes<T>, Index>(p.offset, p.offset_dtype, first, y, x, s.out_h,
                                                 s.out_w, mask);
}

template <typename T, typename Index, typename A>
SCRN_DEVICE void sampling_mask(const SampleForwardParams& p, int64_t image, int y, int x,
                               A (&mask)[9]) {
  const Index pixels = static_cast<Index>(p.shape.out_h) * p.shape.out_w;
  load_mask<OffsetTypes<T>>(p.mask, p.mask_dtype, p.mask_is_logits, image * 9 * pixels,
                            static_cast<Index>(y) * p.shape.out_w + x, pixels, mask);
}

// channels_last: a block takes 8x4 pixels. Two warps put the taps of x and of y into shared
// memory; then each thread takes one vector of channels of one pixel after the other.
inline constexpr int kLastTileX = 8, kLastTileY = 4, kLastTile = kLastTileX * kLastTileY;

// Blocks to a multiprocessor: 80 registers a thread, and more for double.
template <typename T>
inline constexpr int kForwardBlocks = std::is_same_v<T, double> ? 4 : 6;

struct ForwardPlan {
  int64_t blocks = 0, blocks_per_image = 0;
  int32_t tiles_x = 0;
  int32_t tile_x_log2 = 0;    // NCHW only
  int64_t slabs = 1;          // blocks among which the channels of a tile are divided,
  int64_t slab_channels = 0;  // each taking so many
  bool aligned = false;       // channels_last only: 16-byte accesses
};

// Adds the taps of rows Begin to End - 1 to `sum`; all their loads are under way before the first
// is used.
template <typename T, int Begin, int End, typename Index>
SCRN_DEVICE void add_rows(const T* const (&rows)[3], const int (&columns)[3], Index channels,
                          const Accumulate<T> (&weight_y)[3], const Accumulate<T> (&weight_x)[3],
                          Accumulate<T> (&sum)[kVector<T>]) {
  using A = Accumulate<T>;
  Packed<T> words[End - Begin][3];
#pragma unroll
  for (int r = Begin; r < End; ++r) {
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      words[r - Begin][q] = packed_zeros<T>();
      if (weight_y[r] != A(0) && weight_x[q] != A(0)) {
        words[r - Begin][q] = load_packed<kVector<T>>(rows[r] + columns[q] * channels);
      }
    }
  }
#pragma unroll
  for (int r = Begin; r < End; ++r) {
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      const A weight = weight_y[r] * weight_x[q];
      A value[kVector<T>];
      unpack<T>(words[r - Begin][q], value);
#pragma unroll
      for (int e = 0; e < kVector<T>; ++e) sum[e] += weight * value[e];
    }
  }
}

// V consecutive channels at a time: 16 bytes, or 1. `input` and `output` start at the slab's first
// channel, of which the tile takes V * vectors.
template <typename T, int V, typename Index>
SCRN_DEVICE void forward_pixels(const SampleShape& s, const T* input, const T* skip, T* output,
                                int y0, int x0, int vectors,
                                const TapWeights<Accumulate<T>> (&taps)[2][kLastTile]) {
  using A = Accumulate<T>;
  const Index channels = static_cast<Index>(s.channels);
  int pixel = static_cast<int>(threadIdx.x) / vectors;
  int vector = static_cast<int>(threadIdx.x) - pixel * vectors;
  const int step_pixel = kThreads / vectors;
  const int step_vector = kThreads - step_pixel * vectors;
  while (pixel < kLastTile) {
    const int y = y0 + pixel / kLastTileX, x = x0 + pixel % kLastTileX;
    if (y < s.out_h && x < s.out_w) {
      const Index c = static_cast<Index>(vector) * V;
      const Index out = (static_cast<Index>(y) * s.out_w + x) * channels + c;
      const TapWeights<A> tx = taps[0][pixel], ty = taps[1][pixel];
      const T* rows[3];
      int columns[3];
#pragma unroll
      for (int r = 0; r < 3; ++r) {
        rows[r] = input + (at_most(ty.first + r, s.in_h - 1) * (s.in_w * channels) + c);
        columns[r] = at_most(tx.first + r, s.in_w - 1);
      }
      if constexpr (V == 1) {
        A sum = skip != nullptr ? static_cast<A>(widen(skip[out])) : A(0);
#pragma unroll
        for (int r = 0; r < 3; ++r) {
#pragma unroll
          for (int q = 0; q < 3; ++q) {
            const A weight = ty.weight[r] * tx.weight[q];
            if (weight != A(0)) sum += weight * widen(rows[r][columns[q] * channels]);
          }
        }
        output[out] = narrow<T>(sum);
      } else {
        A sum[V];
        unpack<T>(skip != nullptr ? load_packed<kVector<T>>(skip + out) : packed_zeros<T>(), sum);
        // 64-bit addresses leave fewer registers for loads under way.
        if constexpr (sizeof(Index) == 4) {
          add_rows<T, 0, 2>(rows, columns, channels, ty.weight, tx.weight, sum);
        } else {
          add_rows<T, 0, 1>(rows, columns, channels, ty.weight, tx.weight, sum);
          add_rows<T, 1, 2>(rows, columns, channels, ty.weight, tx.weight, sum);
        }
        // At an upsampling by two, half the pixels have no third row.
        if (ty.weight[2] != A(0))
          add_rows<T, 2, 3>(rows, columns, channels, ty.weight, tx.weight, sum);
        store_packed<kVector<T>>(output + out, pack<T>(sum));
      }
    }
    pixel += step_pixel;
    vector += step_vector;
    if (vector >= vectors) {
      vector -= vectors;
      ++pixel;
    }
  }
}

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads, kForwardBlocks<T>)
    sample_forward_channels_last_kernel(const SampleForwardParams p, const ForwardPlan plan) {
  using A = Accumulate<T>;
  SCRN_SHARED(TapWeights<A>, taps, [2][kLastTile]);
  const SampleShape& s = p.shape;
  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    int64_t image, rest, tile, slab, tile_y, tile_x;
    split(work, plan.blocks_per_image, image, rest);
    split(rest, plan.slabs, tile, slab);
    split(tile, plan.tiles_x, tile_y, tile_x);
    const int y0 = static_cast<int>(tile_y) * kLastTileY;
    const int x0 = static_cast<int>(tile_x) * kLastTileX;

    const int dim = threadIdx.x / kLastTile, pixel = threadIdx.x % kLastTile;
    const int y = y0 + pixel / kLastTileX, x = x0 + pixel % kLastTileX;
    if (dim < 2 && y < s.out_h && x < s.out_w) {
      A mask[9];
      if (p.mask != nullptr) sampling_mask<T, Index>(p, image, y, x, mask);
      const A offset = sampling_offset<T, Index>(p, image, dim, y, x, mask);
      if (p.aggregated != nullptr && slab == 0) {
        static_cast<A*>(p.aggregated)[((image * 2 + dim) * s.out_h + y) * s.out_w + x] = offset;
      }
      TapSlopes<A> slopes;
      keep_taps(taps_of(s, dim, y, x, offset), taps[dim][pixel], slopes);
    }
    __syncthreads();

    const int64_t first = slab * plan.slab_channels;
    const int count = static_cast<int>(min_of(plan.slab_channels, s.channels - first));
    const T* input = static_cast<const T*>(p.input) + image * s.in_h * s.in_w * s.channels + first;
    const int64_t out = image * s.out_h * s.out_w * s.channels + first;
    const T* skip = p.skip != nullptr ? static_cast<const T*>(p.skip) + out : nullptr;
    T* output = static_cast<T*>(p.output) + out;
    if (plan.aligned) {
      forward_pixels<T, kVector<T>, Index>(s, input, skip, output, y0, x0, count / kVector<T>,
                                           taps);
    } else {
      forward_pixels<T, 1, Index>(s, input, skip, output, y0, x0, count, taps);
    }
    __syncthreads();
  }
}

// NCHW: thread = pixel, which keeps its nine weights and positions in registers and walks over
// the planes; neighbouring lanes read neighbouring addresses.
inline constexpr int kPlanesAtOnce = 2;
inline constexpr int64_t kLongestSlab = 1 << 26;  // counted in units, with 32-bit counters

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads, kForwardBlocks<T>)
    sample_forward_planes_kernel(const SampleForwardParams p, const ForwardPlan plan) {
  using A = Accumulate<T>;
  const SampleShape& s = p.shape;
  const Index in_plane = static_cast<Index>(s.in_h) * s.in_w;
  const Index out_plane = static_cast<Index>(s.out_h) * s.out_w;
  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    int64_t image, rest, tile, slab, tile_y, tile_x;
    split(work, plan.blocks_per_image, image, rest);
    split(rest, plan.slabs, tile, slab);
    split(tile, plan.tiles_x, tile_y, tile_x);
    const int log2 = plan.tile_x_log2, thread = threadIdx.x;
    const int y = static_cast<int>(tile_y) * (kThreads >> log2) + (thread >> log2);
    const int x = (static_cast<int>(tile_x) << log2) + (thread & ((1 << log2) - 1));
    if (y >= s.out_h || x >= s.out_w) continue;

    A mask[9];
    if (p.mask != nullptr) sampling_mask<T, Index>(p, image, y, x, mask);
    A weight[2][3];
    int at[2][3];
    bool inside = true;
#pragma unroll
    for (int dim = 0; dim < 2; ++dim) {
      const A offset = sampling_offset<T, Index>(p, image, dim, y, x, mask);
      if (p.aggregated != nullptr && slab == 0) {
        static_cast<A*>(p.aggregated)[((image * 2 + dim) * s.out_h + y) * s.out_w + x] = offset;
      }
      const Taps<A> taps = taps_of(s, dim, y, x, offset);
      const int last = (dim == 0 ? s.in_w : s.in_h) - 1;
      // A tap of no weight reads where one that counts does: nothing foreign gets into the sum.
      int used = -1;
#pragma unroll
      for (int r = 2; r >= 0; --r) used = taps.weight[r] != A(0) ? r : used;
      inside = inside && used >= 0;
#pragma unroll
      for (int r = 0; r < 3; ++r) {
        weight[dim][r] = taps.weight[r];
        at[dim][r] = at_most(taps.first + (taps.weight[r] != A(0) ? r : used), last);
      }
    }
    A weights[9];
#pragma unroll
    for (int k = 0; k < 9; ++k) weights[k] = weight[1][k / 3] * weight[0][k % 3];

    const int64_t first = slab * plan.slab_channels;
    const int count = static_cast<int>(min_of(plan.slab_channels, s.channels - first));
    const T* input = static_cast<const T*>(p.input) + (image * s.channels + first) * in_plane;
    const T* rows[3];
#pragma unroll
    for (int r = 0; r < 3; ++r) rows[r] = input + static_cast<Index>(at[1][r]) * s.in_w;
    const int64_t out =
        (image * s.channels + first) * out_plane + (static_cast<Index>(y) * s.out_w + x);
    const T* skip = p.skip != nullptr ? static_cast<const T*>(p.skip) + out : nullptr;
    T* output = static_cast<T*>(p.output) + out;
    for (int c = 0; c < count; c += kPlanesAtOnce) {
      A sum[kPlanesAtOnce];
#pragma unroll
      for (int i = 0; i < kPlanesAtOnce; ++i) {
        const bool live = i == 0 || c + i < count;
        sum[i] = live && skip != nullptr ? static_cast<A>(widen(skip[i * out_plane])) : A(0);
        if (live && inside) {
#pragma unroll
          for (int k = 0; k < 9; ++k) {
            sum[i] += weights[k] * widen(rows[k / 3][i * in_plane + at[0][k % 3]]);
          }
        }
      }
#pragma unroll
      for (int i = 0; i < kPlanesAtOnce; ++i) {
        if (i == 0 || c + i < count) output[i * out_plane] = narrow<T>(sum[i]);
      }
#pragma unroll
      for (int r = 0; r < 3; ++r) rows[r] += kPlanesAtOnce * in_plane;
      if (skip != nullptr) skip += kPlanesAtOnce * out_plane;
      output += kPlanesAtOnce * out_plane;
    }
  }
}

inline ForwardPlan plan_forward(const SampleForwardParams& p, int vector) {
  const SampleShape& s = p.shape;
  ForwardPlan plan;
  int64_t tiles, unit, least;  // channels are divided in whole units, at least so many a slab
  if (s.channels_last) {
    plan.aligned =
        s.channels % vector == 0 && aligned16(p.input) && aligned16(p.skip) && aligned16(p.output);
    plan.tiles_x = static_cast<int32_t>(ceil_div(s.out_w, kLastTileX));
    tiles = plan.tiles_x * ceil_div(s.out_h, kLastTileY);
    unit = plan.aligned ? vector : 1;
    least = 8;
  } else {
    plan.tile_x_log2 = s.out_w > 16 ? 5 : s.out_w > 8 ? 4 : 3;
    plan.tiles_x = static_cast<int32_t>(ceil_div(s.out_w, int64_t{1} << plan.tile_x_log2));
    tiles = plan.tiles_x * ceil_div(s.out_h, kThreads >> plan.tile_x_log2);
    unit = kPlanesAtOnce;
    least = 16 / kPlanesAtOnce;
  }
  const int64_t units = ceil_div(s.channels, unit);
  const int64_t wanted = ceil_div(kEnoughBlocks, std::max<int64_t>(tiles * s.batch, 1));
  const int64_t slabs = std::max<int64_t>(std::min(wanted, units / least), 1);
  plan.slab_channels = std::min(ceil_div(units, slabs), kLongestSlab) * unit;
  plan.slabs = ceil_div(s.channels, std::max<int64_t>(plan.slab_channels, 1));
  plan.blocks_per_image = tiles * plan.slabs;
  plan.blocks = plan.blocks_per_image * s.batch;
  return plan;
}

template <typename T>
int launch_sample_forward(const SampleForwardParams& params, cudaStream_t stream,
                          const LaunchOptions& options = {}) {
  const ForwardPlan plan = plan_forward(params, kVector<T>);
  if (plan.blocks == 0) return 0;
  const bool wide = options.index64 || !fits_index32(params.shape);
  auto* kernel = params.shape.channels_last
                     ? (wide ? sample_forward_channels_last_kernel<T, int64_t>
                             : sample_forward_channels_last_kernel<T, int32_t>)
                     : (wide ? sample_forward_planes_kernel<T, int64_t>
                             : sample_forward_planes_kernel<T, int32_t>);
  SCRN_LAUNCH(kernel, grid_of(plan.blocks, options), kThreads, 0, stream, params, plan);
  return cudaGetLastError();
}

}  // namespace scrn::cuda
