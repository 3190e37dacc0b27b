#pragma once

// What both layouts' forward kernels begin with: Eq. 3 in front of Eq. 4, and how their blocks
// divide the work.

#include "common.cuh"

namespace scrn::srm::cuda {

// Blocks to a multiprocessor: 80 registers a thread, and more for double.
template <typename T>
inline constexpr int kForwardBlocks = std::is_same_v<T, double> ? 4 : 6;

inline constexpr int kMultiprocessors = 132;
inline constexpr int64_t kLongestSlab = 1 << 26;  // counted in units, with 32-bit counters

struct ForwardPlan {
  int64_t blocks = 0, blocks_per_image = 0;
  int64_t first = 0;  // of the blocks of a launch
  int32_t tiles_x = 0;
  int32_t tile_x_log2 = 0;    // NCHW only
  int64_t slabs = 1;          // blocks among which the channels of a tile are divided,
  int64_t slab_channels = 0;  // each taking so many
  bool aligned = false;       // channels_last: 16-byte accesses; NCHW: AlignedRows
};

// Into how many slabs the channels of `tiles` tiles are divided: as many as take the least time,
// where `places` blocks run at a time and each costs `setup` and one for each of its units. A few
// blocks that are left over for a round of their own cost as much as a full one.
inline int64_t count_slabs(int64_t tiles, int64_t units, int64_t least, int64_t places,
                           int64_t setup) {
  constexpr int64_t kMostSlabs = 64;
  const int64_t most = std::min(std::max<int64_t>(units / least, 1), kMostSlabs);
  int64_t best = 1, best_cost = INT64_MAX;
  for (int64_t slabs = 1; slabs <= most; ++slabs) {
    const int64_t cost = ceil_div(tiles * slabs, places) * (setup + ceil_div(units, slabs));
    if (cost < best_cost) {
      best = slabs;
      best_cost = cost;
    }
    if (tiles * slabs > 8 * places) break;  // from here on, a round of its own is little
  }
  return best;
}

// An offset or a weight of Eq. 3 as it lies in memory. Loads of several are under way at a time
// only if none is converted in between.
template <typename T>
using Raw = std::conditional_t<std::is_same_v<T, double>, uint64_t, uint32_t>;

// By value: out of memory that is referred to, bits() would copy byte by byte.
template <typename T, typename S>
SCRN_DEVICE Raw<T> raw_of(S value) {
  using Bits = std::conditional_t<sizeof(S) == 2, uint16_t,
                                  std::conditional_t<sizeof(S) == 4, uint32_t, uint64_t>>;
  return bits<Bits>(value);
}

template <typename T>
SCRN_DEVICE Accumulate<T> raw_value(Raw<T> raw, DType dtype) {
  Accumulate<T> value = 0;
  with_type(OffsetTypes<T>{}, dtype, [&](auto* type) {
    using S = std::remove_pointer_t<decltype(type)>;
    if constexpr (sizeof(S) == 2) {
      value = widen(bits<S>(static_cast<uint16_t>(raw)));
    } else if constexpr (sizeof(S) == 4) {
      value = bits<float>(static_cast<uint32_t>(raw));
    } else {
      value = bits<double>(static_cast<uint64_t>(raw));
    }
  });
  return value;
}

// Rows `row` to row + Rows - 1 of the three that Eq. 3 weighs around a pixel.
template <typename T, int Rows>
struct Neighbours {
  Raw<T> mask[3 * Rows], offset[2][3 * Rows];
};

template <typename T, typename Index, int Rows>
SCRN_DEVICE void load_neighbours(const SampleForwardParams& p, int64_t image, int y, int x, int row,
                                 Neighbours<T, Rows>& found) {
  const int height = p.shape.out_h, width = p.shape.out_w;
  const Index pixels = static_cast<Index>(height) * width;
  with_type(OffsetTypes<T>{}, p.mask_dtype, [&](auto* type) {
    using S = std::remove_pointer_t<decltype(type)>;
    const S* source = static_cast<const S*>(p.mask) + image * 9 * pixels;
    source += static_cast<Index>(y) * width + x;
#pragma unroll
    for (int k = 0; k < 3 * Rows; ++k) {
      found.mask[k] = raw_of<T>(source[static_cast<Index>(3 * row + k) * pixels]);
    }
  });
  with_type(OffsetTypes<T>{}, p.offset_dtype, [&](auto* type) {
    using S = std::remove_pointer_t<decltype(type)>;
    const S* source = static_cast<const S*>(p.offset) + image * 2 * pixels;
#pragma unroll
    for (int dim = 0; dim < 2; ++dim) {
#pragma unroll
      for (int k = 0; k < 3 * Rows; ++k) {
        const int at_y = y + row + k / 3 - 1, at_x = x + k % 3 - 1;
        const bool inside = at_y >= 0 && at_y < height && at_x >= 0 && at_x < width;
        found.offset[dim][k] = 0;
        if (inside) {
          found.offset[dim][k] =
              raw_of<T>(source[dim * pixels + (static_cast<Index>(at_y) * width + at_x)]);
        }
      }
    }
  });
}

// The offset of output pixel (y, x) without Eq. 3.
template <typename T, typename Index>
SCRN_DEVICE Accumulate<T> plain_offset(const SampleForwardParams& p, int64_t image, int dim, int y,
                                       int x) {
  const Index pixels = static_cast<Index>(p.shape.out_h) * p.shape.out_w;
  return load_any<OffsetTypes<T>, Accumulate<T>>(
      p.offset, p.offset_dtype,
      (image * 2 + dim) * pixels + (static_cast<Index>(y) * p.shape.out_w + x));
}

template <typename T>
SCRN_DEVICE void keep_aggregated(const SampleForwardParams& p, int64_t image, int dim, int y, int x,
                                 Accumulate<T> offset) {
  if (p.aggregated == nullptr) return;
  const SampleShape& s = p.shape;
  const int64_t at = ((image * 2 + dim) * s.out_h + y) * s.out_w + x;
  static_cast<Accumulate<T>*>(p.aggregated)[at] = offset;
}

}  // namespace scrn::srm::cuda
