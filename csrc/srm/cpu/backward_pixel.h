#pragma once

// One output pixel of Eq. 4's backward over a slab of channels, whose width is a constant.

#include "../../common/cpu/transpose.h"
#include "chunk_taps.h"
#include "patterns.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

// Adds this pixel's share to the gradient of the input: weight * grad at each tap.
template <int kRows, int kColumns, int kSlab, typename A>
SCRN_INLINE void scatter_pixel(const BackwardTaps<A>& taps, int i, const A* grad, A* base,
                               ptrdiff_t row) {
  constexpr int kVecs = kSlab / kLanes<A>;
  grad = pinned(grad);
  Value<A> u[kVecs];
  for (int v = 0; v < kVecs; ++v) u[v] = load(grad + v * kLanes<A>);
  for (int r = 0; r < kRows; ++r) {
    A* first = pinned(base + r * row);
    const Value<A> wy = broadcast<A>(taps.weight_y[r][i]);
    for (int s = 0; s < kColumns; ++s) {
      const Value<A> w = wy * broadcast<A>(taps.weight_x[s][i]);
      for (int v = 0; v < kVecs; ++v) {
        A* p = first + s * kSlab + v * kLanes<A>;
        store(p, fma(u[v], w, load(p)));
      }
    }
  }
}

// The gradients by the pixel's x and y, as registers whose lanes are yet to be summed.
template <int kRows, int kColumns, int kSlab, typename A>
SCRN_INLINE void slope_pixel(const BackwardTaps<A>& taps, int i, const A* grad, const A* base,
                             ptrdiff_t row, A* result_x, A* result_y) {
  constexpr int kVecs = kSlab / kLanes<A>;
  grad = pinned(grad);
  // grad . input at each tap
  Value<A> dot[kRows][kColumns] = {};
  const A* first[kRows];
  for (int r = 0; r < kRows; ++r) first[r] = pinned(base + r * row);
  for (int v = 0; v < kVecs; ++v) {
    const Value<A> u = load(grad + v * kLanes<A>);
    for (int r = 0; r < kRows; ++r) {
      for (int s = 0; s < kColumns; ++s) {
        dot[r][s] = fma(load(first[r] + s * kSlab + v * kLanes<A>), u, dot[r][s]);
      }
    }
  }
  Value<A> sum_x = {}, sum_y = {};
  for (int r = 0; r < kRows; ++r) {
    Value<A> by_slope = {}, by_weight = {};
    for (int s = 0; s < kColumns; ++s) {
      by_slope = fma(dot[r][s], broadcast<A>(taps.slope_x[s][i]), by_slope);
      by_weight = fma(dot[r][s], broadcast<A>(taps.weight_x[s][i]), by_weight);
    }
    sum_x = fma(by_slope, broadcast<A>(taps.weight_y[r][i]), sum_x);
    sum_y = fma(by_weight, broadcast<A>(taps.slope_y[r][i]), sum_y);
  }
  store(result_x, sum_x);
  store(result_y, sum_y);
}

// result[i] = sum of the lanes of the register at lanes + i * kLanes; count is a multiple of 8.
template <typename A>
SCRN_INLINE void sum_lanes(const A* lanes, int count, A* result) {
  for (int i = 0; i < count; ++i) {
    A sum = 0;
    for (int k = 0; k < kLanes<A>; ++k) sum += lanes[i * kLanes<A> + k];
    result[i] = sum;
  }
}
#if defined(__AVX2__)
SCRN_INLINE void sum_lanes(const float* lanes, int count, float* result) {
  for (int i = 0; i < count; i += 8) {
    Float8 v[8];
    for (int k = 0; k < 8; ++k) {
      const float* p = lanes + (i + k) * kLanes<float>;
      v[k] = load8(p);
      if constexpr (kLanes<float> == 16) v[k] += load8(p + 8);
    }
    transpose8(v);
    store8(result + i, ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])));
  }
}
#endif

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
