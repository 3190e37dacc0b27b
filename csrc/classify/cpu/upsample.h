#pragma once

// The upsampled logits themselves: two rows are blended in scratch memory, whose columns are
// blended on the way out.

#include "math.h"
#include "plan.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

template <typename A>
SCRN_INLINE Value<A> between(Value<A> before, Value<A> after, Value<A> share) {
  return fma(after, share, before * (A(1) - share));
}
// In a number, by a register: to the bit the same, so that classes that are equal stay so.
template <typename A>
SCRN_INLINE A between(A before, A after, A share) {
  return between<A>(broadcast(before), broadcast(after), broadcast(share))[0];
}

// target[i] = between(top[i], bottom[i], share), widened.
template <typename T, typename A>
void blend_rows(const T* top, const T* bottom, A share, int64_t count, A* target) {
  int64_t i = 0;
  for (; i + kLanes<A> <= count; i += kLanes<A>) {
    store(target + i, between<A>(load(top + i), load(bottom + i), broadcast(share)));
  }
  for (; i < count; ++i) target[i] = between(widen(top[i]), widen(bottom[i]), share);
}

// A pixel's classes, of which `room` elements may be written from the first on: what is written
// behind them is the next pixel's, which comes later.
template <typename T, typename A>
SCRN_INLINE void put_pixel(const A* before, const A* after, A share, int64_t classes, int64_t room,
                           T* out) {
  int64_t k = 0;
  for (; k < classes && k + kLanes<A> <= room; k += kLanes<A>) {
    store(out + k, between<A>(load(before + k), load(after + k), broadcast(share)));
  }
  for (; k < classes; ++k) narrow(between(before[k], after[k], share), out[k]);
}

// row[index], where what is asked for mostly lies from `start` on.
template <typename A>
SCRN_INLINE Value<A> pick(const A* row, Index<A> index, int32_t start) {
  if constexpr (kSelects<A>) {
    if (in_two_registers(index, start)) return select(row + start, index - start);
  }
  return gather(row, index);
}

// Of one class.
template <typename T, typename A>
void put_columns(const A* row, const Neighbours& x, int32_t begin, int32_t end, T* out) {
  const A* share = static_cast<const A*>(x.share);
  const int32_t first = x.before[begin];
  int32_t i = begin;
  for (; i + kLanes<A> <= end; i += kLanes<A>) {
    const Index<A> before = load_index(x.before + i, A{}) - first;
    const Index<A> after = load_index(x.after + i, A{}) - first;
    const int32_t start = x.before[i] - first;
    const Value<A> left = pick<A>(row, before, start), right = pick<A>(row, after, start);
    store(out + i, between<A>(left, right, load(share + i)));
  }
  for (; i < end; ++i) {
    narrow(between(row[x.before[i] - first], row[x.after[i] - first], share[i]), out[i]);
  }
}

template <typename T, typename A>
void upsample_task(const UpsamplePlan& plan, int64_t task) {
  const ResizeShape& shape = plan.params.shape;
  const int64_t K = shape.channels_last ? shape.classes : 1;  // classes side by side
  const int64_t strip = task % plan.strips, rest = task / plan.strips;
  const int64_t band = rest % plan.bands, plane = rest / plan.bands;
  const int32_t x0 = static_cast<int32_t>(strip * plan.strip);
  const int32_t x1 = shape.out_w - x0 < plan.strip ? shape.out_w : x0 + plan.strip;
  const int32_t y0 = static_cast<int32_t>(band * plan.band);
  const int32_t y1 = shape.out_h - y0 < plan.band ? shape.out_h : y0 + plan.band;
  const int64_t first = plan.x.before[x0], count = (plan.x.after[x1 - 1] + 1 - first) * K;
  const int64_t in_row = K * shape.in_w, out_row = K * shape.out_w;
  const T* const source =
      static_cast<const T*>(plan.params.logits) + plane * shape.in_h * in_row + first * K;
  T* const target = static_cast<T*>(plan.params.output) + plane * shape.out_h * out_row;
  A* const row = static_cast<A*>(thread_scratch((count + kPadding) * sizeof(A)));
  for (int32_t y = y0; y < y1; ++y) {
    blend_rows<T, A>(source + plan.y.before[y] * in_row, source + plan.y.after[y] * in_row,
                     static_cast<const A*>(plan.y.share)[y], count, row);
    T* const out = target + y * out_row;
    if (!shape.channels_last) {
      put_columns<T, A>(row, plan.x, x0, x1, out);
      continue;
    }
    for (int32_t x = x0; x < x1; ++x) {
      put_pixel<T, A>(row + (plan.x.before[x] - first) * K, row + (plan.x.after[x] - first) * K,
                      static_cast<const A*>(plan.x.share)[x], K, (x1 - x) * K, out + x * K);
    }
  }
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
