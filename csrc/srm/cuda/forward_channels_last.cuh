#pragma once

// Eq. 4 on channels_last: a block takes 8x4 pixels. A warp finds the taps of eight of them and puts
// them into shared memory; then each thread takes one vector of channels of one pixel after the
// other.

#include "forward_offsets.cuh"

namespace scrn::srm::cuda {

// Blocks to a multiprocessor: 72 registers a thread, and more for double.
template <typename T>
inline constexpr int kLastBlocks = std::is_same_v<T, double> ? 4 : 7;
inline constexpr int kLastTileX = 8, kLastTileY = 4, kLastTile = kLastTileX * kLastTileY;

// One multiplication with a 64-bit result and sum, where an index would be scaled to bytes as well.
template <typename T, typename Index>
SCRN_DEVICE const T* at_column(const T* row, int column, Index pixel_bytes) {
  const char* bytes = reinterpret_cast<const char*>(row);
  return reinterpret_cast<const T*>(bytes + static_cast<int64_t>(column) * pixel_bytes);
}

// Adds the taps of rows Begin to End - 1 to `sum`; all their loads are under way before the first
// is used.
template <typename T, int Begin, int End, typename Index>
SCRN_DEVICE void add_rows(const T* const (&rows)[3], const int (&columns)[3], Index pixel_bytes,
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
        words[r - Begin][q] = load_packed<kVector<T>>(at_column(rows[r], columns[q], pixel_bytes));
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

// One vector of channels of one pixel of a tile after the other; `vectors` of them are a pixel's.
struct TileWalk {
  int pixel, vector;
};

SCRN_DEVICE TileWalk first_of_walk(int vectors) {
  const int pixel = static_cast<int>(threadIdx.x) / vectors;
  return {pixel, static_cast<int>(threadIdx.x) - pixel * vectors};
}

SCRN_DEVICE TileWalk next_of_walk(TileWalk at, int vectors, int step_pixel, int step_vector) {
  at.pixel += step_pixel;
  at.vector += step_vector;
  if (at.vector >= vectors) {
    at.vector -= vectors;
    ++at.pixel;
  }
  return at;
}

// The first channel of the vector at `at` in an image of the output; negative: not in the map.
template <int V, typename Index>
SCRN_DEVICE Index place_in_output(const SampleShape& s, int y0, int x0, TileWalk at) {
  const int y = y0 + at.pixel / kLastTileX, x = x0 + at.pixel % kLastTileX;
  if (!(at.pixel < kLastTile && y < s.out_h && x < s.out_w)) return -1;
  return (static_cast<Index>(y) * s.out_w + x) * static_cast<Index>(s.channels) +
         static_cast<Index>(at.vector) * V;
}

template <typename T, typename Index>
SCRN_DEVICE Packed<T> load_skip(const T* skip, Index at) {
  return skip != nullptr && at >= 0 ? load_packed<kVector<T>>(skip + at) : packed_zeros<T>();
}

// V consecutive channels at a time: 16 bytes, or 1. `input`, `skip` and `output` start at the
// slab's first channel, of which the tile takes V * vectors. `ahead` is the skip of the walk's
// first vector; each is asked for one vector ahead, since it comes from furthest away.
template <typename T, int V, typename Index>
SCRN_DEVICE void forward_pixels(const SampleShape& s, const T* input, const T* skip, T* output,
                                int y0, int x0, int vectors,
                                const TapWeights<Accumulate<T>> (&taps)[2][kLastTile],
                                Packed<T> ahead) {
  using A = Accumulate<T>;
  const Index channels = static_cast<Index>(s.channels);
  const Index pixel_bytes = static_cast<Index>(s.channels * static_cast<int64_t>(sizeof(T)));
  const int step_pixel = kThreads / vectors;
  const int step_vector = kThreads - step_pixel * vectors;
  TileWalk at = first_of_walk(vectors);
  Index out = place_in_output<V, Index>(s, y0, x0, at);
#pragma unroll 1
  while (at.pixel < kLastTile) {
    const TileWalk next = next_of_walk(at, vectors, step_pixel, step_vector);
    const Index next_out = place_in_output<V, Index>(s, y0, x0, next);
    const Packed<T> own = ahead;
    if constexpr (V > 1) ahead = load_skip(skip, next_out);
    if (out >= 0) {
      const Index c = static_cast<Index>(at.vector) * V;
      const TapWeights<A> tx = taps[0][at.pixel], ty = taps[1][at.pixel];
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
            if (weight != A(0)) sum += weight * widen(*at_column(rows[r], columns[q], pixel_bytes));
          }
        }
        output[out] = narrow<T>(sum);
      } else {
        A sum[V];
        unpack<T>(own, sum);
        // 64-bit addresses leave fewer registers for loads under way.
        if constexpr (sizeof(Index) == 4) {
          add_rows<T, 0, 2>(rows, columns, pixel_bytes, ty.weight, tx.weight, sum);
        } else {
          add_rows<T, 0, 1>(rows, columns, pixel_bytes, ty.weight, tx.weight, sum);
          add_rows<T, 1, 2>(rows, columns, pixel_bytes, ty.weight, tx.weight, sum);
        }
        // At an upsampling by two, half the pixels have no third row.
        if (ty.weight[2] != A(0))
          add_rows<T, 2, 3>(rows, columns, pixel_bytes, ty.weight, tx.weight, sum);
        store_packed<kVector<T>>(output + out, pack<T>(sum));
      }
    }
    at = next;
    out = next_out;
  }
}

// Sum over the four lanes of a pixel, which are eight apart.
template <typename A>
SCRN_DEVICE A sum_of_pixel(A value) {
  value += __shfl_xor_sync(kFullWarp, value, 8);
  return value + __shfl_xor_sync(kFullWarp, value, 16);
}

template <typename A>
SCRN_DEVICE A top_of_pixel(A value) {
#pragma unroll
  for (int apart = 8; apart <= 16; apart *= 2) {
    const A other = __shfl_xor_sync(kFullWarp, value, apart);
    value = other > value ? other : value;
  }
  return value;
}

// The offsets of eight pixels by one warp; lane = 8 * row + pixel, of which three rows weigh a row
// of Eq. 3's neighbours each; the fourth reads the third's, and adds nothing. All lanes of a pixel
// return its two.
template <typename T, typename Index>
SCRN_DEVICE void weigh_rows(const SampleForwardParams& p, int64_t image, int y, int x, int row,
                            Accumulate<T> (&offset)[2]) {
  using A = Accumulate<T>;
  Neighbours<T, 1> near;
  load_neighbours<T, Index>(p, image, y, x, at_most(row, 2), near);
  A mask[3];
#pragma unroll
  for (int k = 0; k < 3; ++k) mask[k] = raw_value<T>(near.mask[k], p.mask_dtype);
  if (p.mask_is_logits) {
    A top = mask[0];
#pragma unroll
    for (int k = 1; k < 3; ++k) top = mask[k] > top ? mask[k] : top;
    top = top_of_pixel(top);
    A sum = A(0);
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      mask[k] = row < 3 ? std::exp(mask[k] - top) : A(0);
      sum += mask[k];
    }
    const A inverse = A(1) / sum_of_pixel(sum);
#pragma unroll
    for (int k = 0; k < 3; ++k) mask[k] *= inverse;
  }
#pragma unroll
  for (int dim = 0; dim < 2; ++dim) {
    A sum = A(0);
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      // Not times zero in the fourth row: the weights may be NaN.
      sum += row < 3 ? mask[k] * raw_value<T>(near.offset[dim][k], p.offset_dtype) : A(0);
    }
    offset[dim] = sum_of_pixel(sum);
  }
}

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads, kLastBlocks<T>)
    sample_forward_channels_last_kernel(const SampleForwardParams p, const ForwardPlan plan) {
  using A = Accumulate<T>;
  SCRN_SHARED(TapWeights<A>, taps, [2][kLastTile]);
  const SampleShape& s = p.shape;
  const int64_t work = plan.first + blockIdx.x;
  int64_t image, rest, tile, slab, tile_y, tile_x;
  split(work, plan.blocks_per_image, image, rest);
  split(rest, plan.slabs, tile, slab);
  split(tile, plan.tiles_x, tile_y, tile_x);
  const int y0 = static_cast<int>(tile_y) * kLastTileY;
  const int x0 = static_cast<int>(tile_x) * kLastTileX;
  const int64_t first = slab * plan.slab_channels;
  const int count = static_cast<int>(min_of(plan.slab_channels, s.channels - first));
  const int vectors = plan.aligned ? count / kVector<T> : count;
  const T* input = static_cast<const T*>(p.input) + image * s.in_h * s.in_w * s.channels + first;
  const int64_t out = image * s.out_h * s.out_w * s.channels + first;
  const T* skip = p.skip != nullptr ? static_cast<const T*>(p.skip) + out : nullptr;
  T* output = static_cast<T*>(p.output) + out;
  Packed<T> ahead = packed_zeros<T>();
  if (plan.aligned) {
    const TileWalk at = first_of_walk(vectors);
    ahead = load_skip(skip, place_in_output<kVector<T>, Index>(s, y0, x0, at));
  }

  const int row = threadIdx.x % 32 / kLastTileX, column = threadIdx.x % kLastTileX;
  const int pixel = threadIdx.x / 32 * kLastTileX + column;
  // Lanes outside the map take part in the shuffles, at a pixel inside.
  const bool inside = y0 + pixel / kLastTileX < s.out_h && x0 + column < s.out_w;
  const int y = at_most(y0 + pixel / kLastTileX, s.out_h - 1);
  const int x = at_most(x0 + column, s.out_w - 1);
  A offset[2] = {A(0), A(0)};
  if (p.mask != nullptr) {
    weigh_rows<T, Index>(p, image, y, x, row, offset);
  } else if (row < 2) {
    offset[0] = offset[1] = plain_offset<T, Index>(p, image, row, y, x);
  }
  if (row < 2 && inside) {
    const A own = row == 0 ? offset[0] : offset[1];
    if (slab == 0) keep_aggregated<T>(p, image, row, y, x, own);
    TapSlopes<A> slopes;
    keep_taps(taps_of(s, row, y, x, own), taps[row][pixel], slopes);
  }
  __syncthreads();

  if (plan.aligned) {
    forward_pixels<T, kVector<T>, Index>(s, input, skip, output, y0, x0, vectors, taps, ahead);
  } else {
    forward_pixels<T, 1, Index>(s, input, skip, output, y0, x0, vectors, taps, ahead);
  }
}

template <typename T>
ForwardPlan plan_forward_channels_last(const SampleForwardParams& p) {
  const SampleShape& s = p.shape;
  ForwardPlan plan;
  plan.aligned = s.channels % kVector<T> == 0 && aligned16(p.input) && aligned16(p.skip) &&
                 aligned16(p.output);
  plan.tiles_x = static_cast<int32_t>(ceil_div(s.out_w, kLastTileX));
  const int64_t tiles = plan.tiles_x * ceil_div(s.out_h, kLastTileY);
  const int64_t unit = plan.aligned ? kVector<T> : 1;
  const int64_t units = ceil_div(s.channels, unit);
  // To find its taps takes a block about as long as three turns of its loop, and a turn takes
  // kThreads units of kLastTile pixels.
  const int64_t slabs = count_slabs(tiles * s.batch, units, 8, kLastBlocks<T> * kMultiprocessors,
                                    3 * kThreads / kLastTile);
  plan.slab_channels = std::min(ceil_div(units, slabs), kLongestSlab) * unit;
  plan.slabs = ceil_div(s.channels, std::max<int64_t>(plan.slab_channels, 1));
  plan.blocks_per_image = tiles * plan.slabs;
  plan.blocks = plan.blocks_per_image * s.batch;
  return plan;
}

}  // namespace scrn::srm::cuda
