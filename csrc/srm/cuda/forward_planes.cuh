#pragma once

// Eq. 4 on NCHW: thread = pixel, which keeps its weights and positions in registers and walks over
// the planes; neighbouring lanes read neighbouring addresses.

#include "forward_offsets.cuh"

namespace scrn::srm::cuda {

// Planes whose loads are under way at a time: one at a time would wait for the memory at each.
// Values of double and addresses of 64 bits leave registers for fewer.
template <typename T, typename Index>
inline constexpr int kPlanesAtOnce = std::is_same_v<T, double> ? 2
                                     : sizeof(Index) == 8      ? 3
                                                               : 4;

// Where a pixel reads in every plane, and with which weights, in both dimensions.
template <typename A>
struct TapPlaces {
  A weight[2][3];
  int at[2][3];
};

template <typename T, typename Index>
SCRN_DEVICE TapPlaces<Accumulate<T>> tap_places(const SampleForwardParams& p, int64_t image, int y,
                                                int x, bool keep) {
  using A = Accumulate<T>;
  const SampleShape& s = p.shape;
  A offset[2];
  if (p.mask != nullptr) {
    Neighbours<T, 3> near;
    load_neighbours<T, Index>(p, image, y, x, 0, near);
    A mask[9];
#pragma unroll
    for (int k = 0; k < 9; ++k) mask[k] = raw_value<T>(near.mask[k], p.mask_dtype);
    if (p.mask_is_logits) softmax(mask);
#pragma unroll
    for (int dim = 0; dim < 2; ++dim) {
      offset[dim] = A(0);
#pragma unroll
      for (int k = 0; k < 9; ++k) {
        offset[dim] += mask[k] * raw_value<T>(near.offset[dim][k], p.offset_dtype);
      }
    }
  } else {
#pragma unroll
    for (int dim = 0; dim < 2; ++dim) {
      offset[dim] = plain_offset<T, Index>(p, image, dim, y, x);
    }
  }
  TapPlaces<A> found;
#pragma unroll
  for (int dim = 0; dim < 2; ++dim) {
    if (keep) keep_aggregated<T>(p, image, dim, y, x, offset[dim]);
    const Taps<A> taps = taps_of(s, dim, y, x, offset[dim]);
    const int last = (dim == 0 ? s.in_w : s.in_h) - 1;
    // A tap of no weight reads where one that counts does: no row is fetched for nothing.
    int used = -1;
#pragma unroll
    for (int r = 2; r >= 0; --r) used = taps.weight[r] != A(0) ? r : used;
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      found.weight[dim][r] = taps.weight[r];
      const int tap = taps.weight[r] != A(0) ? r : used >= 0 ? used : 0;
      found.at[dim][r] = at_most(taps.first + tap, last);
    }
  }
  return found;
}

// What a pixel reads of each plane: of three rows, kLoads neighbouring words of kElements each, at
// distances that the compiler knows. kGuarded: a row may be shorter than that.
template <typename T, typename Index, int kLoads, int kElements, bool kGuarded>
struct RowsOfPlane {
  using A = Accumulate<T>;
  static constexpr int kColumns = kLoads * kElements;
  using Word = std::conditional_t<kElements == 1, T, Packed<T, 2>>;
  struct Loads {
    Word word[3][kLoads];
  };

  A weight[3][kColumns];
  Index at[3];
  int columns;

  SCRN_DEVICE RowsOfPlane of(const TapPlaces<A>& taps, int in_w) {
    RowsOfPlane reader;
    reader.columns = in_w;
    // The first of the three taps is the leftmost that counts.
    const int rightmost = kGuarded && in_w < kColumns ? 0 : in_w - kColumns;
    const int left = at_most(taps.at[0][0] / kElements * kElements, rightmost);
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      reader.at[r] = static_cast<Index>(taps.at[1][r]) * in_w + left;
#pragma unroll
      for (int e = 0; e < kColumns; ++e) {
        A column = A(0);
#pragma unroll
        for (int q = 0; q < 3; ++q) {
          column += taps.at[0][q] - left == e ? taps.weight[0][q] : A(0);
        }
        reader.weight[r][e] = taps.weight[1][r] * column;
      }
    }
    return reader;
  }

  SCRN_DEVICE void load(const RowsOfPlane& reader, const T* plane, Loads& loads) {
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      const T* row = plane + reader.at[r];
#pragma unroll
      for (int n = 0; n < kLoads; ++n) {
        if constexpr (kElements == 2) {
          loads.word[r][n] = load_packed<2>(row + 2 * n);
        } else {
          loads.word[r][n] = narrow<T>(A(0));
          if (!kGuarded || n < reader.columns) loads.word[r][n] = row[n];
        }
      }
    }
  }

  SCRN_DEVICE A sum(const RowsOfPlane& reader, const Loads& loads) {
    A result = A(0);
    each_element(loads, [&](int r, int e, A value) { result += reader.weight[r][e] * value; });
    // What has no weight has no part in it, be it NaN or infinite.
    if (result != result) {
      result = A(0);
      each_element(loads, [&](int r, int e, A value) {
        const A weight = reader.weight[r][e];
        result += weight * (weight != A(0) ? value : A(0));
      });
    }
    return result;
  }

  template <typename F>
  SCRN_DEVICE void each_element(const Loads& loads, F&& use) {
#pragma unroll
    for (int r = 0; r < 3; ++r) {
#pragma unroll
      for (int n = 0; n < kLoads; ++n) {
        if constexpr (kElements == 2) {
          A value[2];
          unpack<T, 2>(loads.word[r][n], value);
          use(r, 2 * n, value[0]);
          use(r, 2 * n + 1, value[1]);
        } else {
          use(r, n, widen(loads.word[r][n]));
        }
      }
    }
  }
};

// Six loads for nine where a half type's rows begin at a word.
template <typename T, typename Index>
using AlignedRows = std::conditional_t<sizeof(T) == 2, RowsOfPlane<T, Index, 2, 2, false>,
                                       RowsOfPlane<T, Index, 3, 1, false>>;
template <typename T, typename Index>
using AnyRows = RowsOfPlane<T, Index, 3, 1, true>;

// All planes of a slab, several at a time: every load is issued before the first sum. Behind the
// last plane the last is read again, since a branch would wait for what is under way.
template <typename T, typename Index, typename Reader>
SCRN_DEVICE void walk_planes(const Reader& reader, const T* input, Index in_plane, const T* skip,
                             T* output, Index out_plane, int count) {
  using A = Accumulate<T>;
  constexpr int kPlanes = kPlanesAtOnce<T, Index>;
#pragma unroll 1
  for (int c = 0; c < count; c += kPlanes) {
    typename Reader::Loads loads[kPlanes];
    T skips[kPlanes];
#pragma unroll
    for (int i = 0; i < kPlanes; ++i) {
      const Index plane = at_most(i, count - 1 - c);
      skips[i] = narrow<T>(A(0));
      if (skip != nullptr) skips[i] = skip[plane * out_plane];
    }
#pragma unroll
    for (int i = 0; i < kPlanes; ++i) {
      const Index plane = at_most(i, count - 1 - c);
      Reader::load(reader, input + plane * in_plane, loads[i]);
    }
#pragma unroll
    for (int i = 0; i < kPlanes; ++i) {
      const A sum = Reader::sum(reader, loads[i]) + widen(skips[i]);
      if (c + i < count) output[i * out_plane] = narrow<T>(sum);
    }
    input += int64_t{kPlanes} * in_plane;
    if (skip != nullptr) skip += int64_t{kPlanes} * out_plane;
    output += int64_t{kPlanes} * out_plane;
  }
}

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads, kForwardBlocks<T>)
    sample_forward_planes_kernel(const SampleForwardParams p, const ForwardPlan plan) {
  const SampleShape& s = p.shape;
  const Index in_plane = static_cast<Index>(s.in_h) * s.in_w;
  const Index out_plane = static_cast<Index>(s.out_h) * s.out_w;
  const int64_t work = plan.first + blockIdx.x;
  int64_t image, rest, tile, slab, tile_y, tile_x;
  split(work, plan.blocks_per_image, image, rest);
  split(rest, plan.slabs, tile, slab);
  split(tile, plan.tiles_x, tile_y, tile_x);
  const int log2 = plan.tile_x_log2, thread = threadIdx.x;
  const int y = static_cast<int>(tile_y) * (kThreads >> log2) + (thread >> log2);
  const int x = (static_cast<int>(tile_x) << log2) + (thread & ((1 << log2) - 1));
  if (y >= s.out_h || x >= s.out_w) return;

  const auto taps = tap_places<T, Index>(p, image, y, x, slab == 0);
  const int64_t first = slab * plan.slab_channels;
  const int count = static_cast<int>(min_of(plan.slab_channels, s.channels - first));
  const T* input = static_cast<const T*>(p.input) + (image * s.channels + first) * in_plane;
  const int64_t out =
      (image * s.channels + first) * out_plane + (static_cast<Index>(y) * s.out_w + x);
  const T* skip = p.skip != nullptr ? static_cast<const T*>(p.skip) + out : nullptr;
  T* output = static_cast<T*>(p.output) + out;
  if (plan.aligned) {
    const auto reader = AlignedRows<T, Index>::of(taps, s.in_w);
    walk_planes<T, Index>(reader, input, in_plane, skip, output, out_plane, count);
  } else {
    const auto reader = AnyRows<T, Index>::of(taps, s.in_w);
    walk_planes<T, Index>(reader, input, in_plane, skip, output, out_plane, count);
  }
}

template <typename T>
ForwardPlan plan_forward_planes(const SampleForwardParams& p) {
  const SampleShape& s = p.shape;
  ForwardPlan plan;
  plan.aligned = sizeof(T) == 2 ? s.in_w % 2 == 0 && s.in_w >= 4 &&
                                      reinterpret_cast<uintptr_t>(p.input) % 4 == 0
                                : s.in_w >= 3;
  plan.tile_x_log2 = s.out_w > 16 ? 5 : s.out_w > 8 ? 4 : 3;
  plan.tiles_x = static_cast<int32_t>(ceil_div(s.out_w, int64_t{1} << plan.tile_x_log2));
  const int64_t tiles = plan.tiles_x * ceil_div(s.out_h, kThreads >> plan.tile_x_log2);
  const int64_t unit = kPlanesAtOnce<T, int32_t>;
  const int64_t units = ceil_div(s.channels, unit);
  // To find its taps takes a block about as long as three turns of its loop.
  const int64_t slabs =
      count_slabs(tiles * s.batch, units, 8 / unit, kForwardBlocks<T> * kMultiprocessors, 3);
  plan.slab_channels = std::min(ceil_div(units, slabs), kLongestSlab) * unit;
  plan.slabs = ceil_div(s.channels, std::max<int64_t>(plan.slab_channels, 1));
  plan.blocks_per_image = tiles * plan.slabs;
  plan.blocks = plan.blocks_per_image * s.batch;
  return plan;
}

}  // namespace scrn::srm::cuda
