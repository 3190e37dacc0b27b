#pragma once

// Gradient of Eq. 4's offset for NCHW, which needs no reduction across pixels.

#include "common.cuh"

namespace scrn::srm::cuda {

// Gradient of the offset: lane = pixel, and the warps of a block divide the channels.
inline constexpr int kPlaneGroups = 8;
inline constexpr int kPlanePixels = 32;
inline constexpr int kPlaneThreads = kPlaneGroups * kPlanePixels;
inline constexpr int kOffsetPlanes = 2;  // of each group

struct OffsetGradPlan {
  int64_t blocks = 0, blocks_per_image = 0;
  int32_t tiles_x = 0, tile_x_log2 = 0;
};

// The same taps on three neighbouring cells inside the map, of at least three cells: a thread then
// needs one address for three of them. Cells that the border makes one are one here, too.
template <typename A>
SCRN_DEVICE Taps<A> neighbouring(const Taps<A>& taps, int size) {
  Taps<A> moved = {at_most(taps.first, size - 3), {A(0), A(0), A(0)}, {A(0), A(0), A(0)}};
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    const int place = at_most(taps.first + r, size - 1) - moved.first;
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      moved.weight[q] += place == q ? taps.weight[r] : A(0);
      moved.slope[q] += place == q ? taps.slope[r] : A(0);
    }
  }
  return moved;
}

// Tap r if it takes part, else the first that does.
template <typename A>
SCRN_DEVICE int taking_part(const Taps<A>& taps, int r) {
  const auto part = [&](int tap) { return taps.weight[tap] != A(0) || taps.slope[tap] != A(0); };
  return part(r) ? r : part(0) ? 0 : part(1) ? 1 : 2;
}

// One group's part of one pixel's gradient, from the taps that take part and from nothing else.
template <typename T, typename Index, typename A>
SCRN_DEVICE void exact_offset_grad(const SampleBackwardParams& p, int64_t image, int y, int x,
                                   int group, A& dx, A& dy) {
  const SampleShape& s = p.shape;
  const Index in_plane = static_cast<Index>(s.in_h) * s.in_w;
  const Index out_plane = static_cast<Index>(s.out_h) * s.out_w;
  const Index pixel = static_cast<Index>(y) * s.out_w + x;
  const int64_t first = image * 2 * out_plane;
  const Taps<A> tx =
      taps_of(s, 0, y, x, load_any<OffsetTypes<T>, A>(p.offset, p.offset_dtype, first + pixel));
  const Taps<A> ty =
      taps_of(s, 1, y, x,
              load_any<OffsetTypes<T>, A>(p.offset, p.offset_dtype, first + (out_plane + pixel)));
  Index rows[3];
  int columns[3];
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    rows[r] = static_cast<Index>(at_most(ty.first + taking_part(ty, r), s.in_h - 1)) * s.in_w;
    columns[r] = at_most(tx.first + taking_part(tx, r), s.in_w - 1);
  }
  dx = dy = A(0);
  const int64_t plane = image * s.channels + group;
  const T* input = static_cast<const T*>(p.input) + plane * in_plane;
  const T* above = static_cast<const T*>(p.grad_output) + plane * out_plane + pixel;
  for (int64_t c = group; c < s.channels; c += kPlaneGroups) {
    const A u = widen(*above);
    A slope_x = A(0), slope_y = A(0);
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      A along_x = A(0), along_y = A(0);
#pragma unroll
      for (int q = 0; q < 3; ++q) {
        const A value = widen(input[rows[r] + columns[q]]);
        along_x += tx.slope[q] * value;
        along_y += tx.weight[q] * value;
      }
      slope_x += ty.weight[r] * along_x;
      slope_y += ty.slope[r] * along_y;
    }
    dx += u * slope_x;
    dy += u * slope_y;
    above += kPlaneGroups * out_plane;
    input += kPlaneGroups * in_plane;
  }
}

template <typename T, typename Index>
__global__ void __launch_bounds__(kPlaneThreads,
                                  std::is_same_v<T, double> || sizeof(Index) == 8 ? 2 : 3)
    offset_grad_planes_kernel(const SampleBackwardParams p, const OffsetGradPlan plan) {
  using A = Accumulate<T>;
  SCRN_SHARED(TapWeights<A>, weights, [2][kPlanePixels]);
  SCRN_SHARED(TapSlopes<A>, slopes, [2][kPlanePixels]);
  SCRN_SHARED(A, partial, [2][kPlaneGroups][kPlanePixels]);
  const SampleShape& s = p.shape;
  const Index in_plane = static_cast<Index>(s.in_h) * s.in_w;
  const Index out_plane = static_cast<Index>(s.out_h) * s.out_w;
  const int group = threadIdx.x / kPlanePixels, lane = threadIdx.x % kPlanePixels;
  const bool small = s.in_h < 3 || s.in_w < 3;
  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    int64_t image, tile, tile_y, tile_x;
    split(work, plan.blocks_per_image, image, tile);
    split(tile, plan.tiles_x, tile_y, tile_x);
    const int log2 = plan.tile_x_log2;
    const int y = static_cast<int>(tile_y) * (kPlanePixels >> log2) + (lane >> log2);
    const int x = (static_cast<int>(tile_x) << log2) + (lane & ((1 << log2) - 1));
    const bool live = y < s.out_h && x < s.out_w;
    const Index pixel = static_cast<Index>(y) * s.out_w + x;
    const int64_t plane_first = image * 2 * out_plane;
    if (live && group < 2) {
      const A offset = load_any<OffsetTypes<T>, A>(p.offset, p.offset_dtype,
                                                   plane_first + (group * out_plane + pixel));
      Taps<A> taps = taps_of(s, group, y, x, offset);
      if (!small) taps = neighbouring(taps, group == 0 ? s.in_w : s.in_h);
      keep_taps(taps, weights[group][lane], slopes[group][lane]);
    }
    __syncthreads();

    A dx = A(0), dy = A(0);
    if (live && weights[0][lane].first >= 0 && weights[1][lane].first >= 0) {
      const TapWeights<A> tx = weights[0][lane], ty = weights[1][lane];
      const TapSlopes<A> sx = slopes[0][lane], sy = slopes[1][lane];
      A along_x[9], along_y[9];
#pragma unroll
      for (int k = 0; k < 9; ++k) {
        along_x[k] = ty.weight[k / 3] * sx.slope[k % 3];
        along_y[k] = sy.slope[k / 3] * tx.weight[k % 3];
      }
      // All loads of the planes of an iteration stand before its sums, so that memory is waited for
      // once. A plane behind the last one is read from the last and left out of the sum: a branch
      // would part its loads from the others.
      const int64_t plane = image * s.channels + group;
      const T* cells = static_cast<const T*>(p.input) + plane * in_plane +
                       (static_cast<Index>(ty.first) * s.in_w + tx.first);
      const T* above = static_cast<const T*>(p.grad_output) + plane * out_plane + pixel;
      const Index in_step = kPlaneGroups * in_plane, out_step = kPlaneGroups * out_plane;
      int64_t c = small ? s.channels : group;
      for (; c < s.channels; c += kOffsetPlanes * kPlaneGroups) {
        T value[kOffsetPlanes][9], u[kOffsetPlanes];
        bool there[kOffsetPlanes];
#pragma unroll
        for (int n = 0; n < kOffsetPlanes; ++n) {
          there[n] = c + n * kPlaneGroups < s.channels;
          u[n] = *above;
          const T* row = cells;
#pragma unroll
          for (int r = 0; r < 3; ++r) {
#pragma unroll
            for (int q = 0; q < 3; ++q) value[n][r * 3 + q] = row[q];
            row += s.in_w;
          }
          const bool more = c + (n + 1) * kPlaneGroups < s.channels;
          cells += more ? in_step : 0;
          above += more ? out_step : 0;
        }
#pragma unroll
        for (int n = 0; n < kOffsetPlanes; ++n) {
          A slope_x = A(0), slope_y = A(0);
#pragma unroll
          for (int k = 0; k < 9; ++k) {
            const A wide = widen(value[n][k]);
            slope_x += along_x[k] * wide;
            slope_y += along_y[k] * wide;
          }
          const A weight = there[n] ? widen(u[n]) : A(0);
          dx += there[n] ? weight * slope_x : A(0);
          dy += there[n] ? weight * slope_y : A(0);
        }
      }
      // Values that take no part have weight 0: they do no harm unless they are not finite.
      if (small || dx - dx + (dy - dy) != A(0)) {
        exact_offset_grad<T, Index>(p, image, y, x, group, dx, dy);
      }
    }
    partial[0][group][lane] = dx;
    partial[1][group][lane] = dy;
    __syncthreads();
    if (live && group < 2) {
      A sum = A(0);
#pragma unroll
      for (int g = 0; g < kPlaneGroups; ++g) sum += partial[group][g][lane];
      store_any<OffsetTypes<T>>(p.grad_offset, p.offset_dtype,
                                plane_first + (group * out_plane + pixel), sum);
    }
  }
}

inline OffsetGradPlan plan_offset_grad(const SampleShape& s) {
  OffsetGradPlan plan;
  plan.tile_x_log2 = s.out_w > 16 ? 5 : s.out_w > 8 ? 4 : 3;
  plan.tiles_x = static_cast<int32_t>(ceil_div(s.out_w, int64_t{1} << plan.tile_x_log2));
  plan.blocks_per_image = plan.tiles_x * ceil_div(s.out_h, kPlanePixels >> plan.tile_x_log2);
  plan.blocks = plan.blocks_per_image * s.batch;
  return plan;
}

}  // namespace scrn::srm::cuda
