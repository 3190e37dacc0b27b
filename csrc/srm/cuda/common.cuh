#pragma once

// What the kernels share: Eq. 3, and the taps as they are handed on through memory.

#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/types.cuh"
#include "../params.h"
#include "../taps.h"

namespace scrn::srm::cuda {

using namespace scrn::cuda;

using scrn::cuda::fits_index32;
inline bool fits_index32(const SampleShape& shape) {
  const int64_t out = static_cast<int64_t>(shape.out_h) * shape.out_w;
  const int64_t in = static_cast<int64_t>(shape.in_h) * shape.in_w;
  return fits_index32(out * std::max<int64_t>(shape.channels, 9)) &&
         fits_index32(in * std::max<int64_t>(shape.channels, 1));
}

// The types that offset and mask may have beside features of type T.
template <typename T>
using OffsetTypes = std::conditional_t<std::is_same_v<T, float>, Types<float>, Types<float, T>>;
// Eq. 3 for one channel: the sum of mask[k] * plane[y + dy][x + dx] over the neighbours
// k = (dy + 1) * 3 + dx + 1, the plane being 0 outside. It starts at element `first`.
template <typename Allowed, typename Index, typename A>
SCRN_DEVICE A weigh_neighbours(const void* base, DType dtype, int64_t first, int y, int x,
                               int height, int width, const A (&mask)[9]) {
  A sum = A(0);
  with_type(Allowed{}, dtype, [&](auto* type) {
    using S = std::remove_pointer_t<decltype(type)>;
    const S* plane = static_cast<const S*>(base) + first;
#pragma unroll
    for (int dy = -1; dy <= 1; ++dy) {
      const Index row = static_cast<Index>(y + dy) * width + x;
#pragma unroll
      for (int dx = -1; dx <= 1; ++dx) {
        const bool inside = y + dy >= 0 && y + dy < height && x + dx >= 0 && x + dx < width;
        sum += mask[dy * 3 + dx + 4] * (inside ? static_cast<A>(widen(plane[row + dx])) : A(0));
      }
    }
  });
  return sum;
}

template <typename A>
SCRN_DEVICE void softmax(A (&v)[9]) {
  A top = v[0];
#pragma unroll
  for (int k = 1; k < 9; ++k) top = v[k] > top ? v[k] : top;
  A sum = A(0);
#pragma unroll
  for (int k = 0; k < 9; ++k) {
    v[k] = std::exp(v[k] - top);
    sum += v[k];
  }
  const A inverse = A(1) / sum;
#pragma unroll
  for (int k = 0; k < 9; ++k) v[k] *= inverse;
}

// The nine weights of Eq. 3 at one pixel. Channel 0 of its image starts at element `first`.
template <typename Allowed, typename Index, typename A>
SCRN_DEVICE void load_mask(const void* base, DType dtype, bool logits, int64_t first, Index pixel,
                           Index pixels, A (&out)[9]) {
  with_type(Allowed{}, dtype, [&](auto* type) {
    using S = std::remove_pointer_t<decltype(type)>;
    const S* source = static_cast<const S*>(base) + first + pixel;
#pragma unroll
    for (int k = 0; k < 9; ++k) {
      out[k] = static_cast<A>(widen(*source));
      source += k < 8 ? pixels : 0;
    }
  });
  if (logits) softmax(out);
}

// One dimension's taps as they lie in shared memory and in the workspace. first = -1: the point
// is outside, where every weight and slope is zero.
template <typename A>
struct alignas(16) TapWeights {
  A weight[3];
  int32_t first;
};
// Bit r of `active`: tap r has a weight or a slope. The others are left out, lest a value that
// does not take part turn a gradient into NaN.
template <typename A>
struct alignas(16) TapSlopes {
  A slope[3];
  int32_t active;
};

// Tap r goes to place (r + turn) % 3, turn being 0 to 2.
template <typename A>
SCRN_DEVICE void keep_taps(const Taps<A>& taps, TapWeights<A>& weights, TapSlopes<A>& slopes,
                           int turn = 0) {
  int32_t active = 0;
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    const int place = r + turn < 3 ? r + turn : r + turn - 3;
    weights.weight[place] = taps.weight[r];
    slopes.slope[place] = taps.slope[r];
    if (taps.weight[r] != A(0) || taps.slope[r] != A(0)) active |= 1 << place;
  }
  weights.first = active != 0 ? taps.first : -1;
  slopes.active = active;
}

// The taps of output pixel (y, x) in dimension dim (0: x, 1: y) at the given offset.
template <typename A>
SCRN_DEVICE Taps<A> taps_of(const SampleShape& shape, int dim, int y, int x, A offset) {
  const bool is_x = dim == 0;
  const Ratio ratio = is_x ? shape.ratio_x : shape.ratio_y;
  return sample_taps(shape.upsample, is_x ? x : y, offset, is_x ? shape.in_w : shape.in_h,
                     is_x ? shape.out_w : shape.out_h, ratio);
}

// A window of 3x3 cells that moves with the taps: cell (y, x) lives at [y % 3][x % 3], so that
// nothing has to be shifted.
inline constexpr int kEmptyWindow = -3;  // as y and x: shares no cell with any other position

// The one of the cells first, first + 1, first + 2 that lives at `place`.
SCRN_DEVICE int cell_at(int first, int place) {
  const int ahead = place - first % 3;
  return first + (ahead < 0 ? ahead + 3 : ahead);
}

}  // namespace scrn::srm::cuda
