#pragma once

// The backward of Eq. 4, in three passes over the tasks:
//   locate: the taps of every output pixel,
//   scatter: per image and slab of channels, the gradient of the slab's input, summed in one
//     fixed order, and the slab's part of the offset's gradient,
//   reduce: the sum of those parts, again in a fixed order.
// Both layouts work in scratch memory [pixel][slab] of the accumulate type.

#include "backward_pixel.h"
#include "rows.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

// Pixels whose grad_output is brought into scratch memory together: runs long enough for the
// caches' prefetching.
constexpr int kStage = 8 * kChunk;

SCRN_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename A>
void locate_backward(const BackwardPlan& plan, int64_t b, int64_t chunk, BackwardTaps<A>& taps) {
  const SampleShape& shape = plan.params.shape;
  const int64_t pixels = static_cast<int64_t>(shape.out_h) * shape.out_w;
  const int64_t begin = chunk * kChunk;
  const int count = static_cast<int>(pixels - begin < kChunk ? pixels - begin : kChunk);
  A offset[2][kChunk + kPadding];
  for (int axis = 0; axis < 2; ++axis) {
    load_row(plan.params.offset_dtype, plan.params.offset, (b * 2 + axis) * pixels + begin, count,
             offset[axis]);
    for (int i = count; i < kChunk + kPadding; ++i) offset[axis][i] = 0;
  }
  int32_t weights[kChunk + kPadding], slopes[kChunk + kPadding];
  for (int i = 0; i < count;) {
    // The part of the chunk that lies in one row.
    const int64_t y = (begin + i) / shape.out_w, x = (begin + i) % shape.out_w;
    const int64_t row_end = i + (shape.out_w - x);
    const int end = static_cast<int>(row_end < count ? row_end : count);
    for (int j = i; j < end; j += kLanes<A>) {
      const VecTaps<A> ty = row_taps<A>(plan.y, y, load(offset[1] + j));
      const VecTaps<A> tx = column_taps<A>(plan.x, x + (j - i), load(offset[0] + j));
      for (int r = 0; r < 3; ++r) {
        store(taps.weight_y[r] + j, ty.weight[r]);
        store(taps.weight_x[r] + j, tx.weight[r]);
        store(taps.slope_y[r] + j, ty.slope[r]);
        store(taps.slope_x[r] + j, tx.slope[r]);
      }
      store_index(taps.y + j, ty.first);
      store_index(taps.x + j, tx.first);
      store_index(weights + j, pattern_of<A>(weight_count(ty), weight_count(tx)));
      store_index(slopes + j, pattern_of<A>(slope_count(ty), slope_count(tx)));
    }
    i = end;
  }
  order_by_pattern(weights, count, taps.weights);
  order_by_pattern(slopes, count, taps.slopes);
}

// Brings `count` pixels from `begin` on into scratch memory, and back.
template <int kSlab, typename S, typename A>
SCRN_INLINE void load_slab(bool channels_last, const S* image, int64_t pixels, int64_t all_channels,
                           int64_t c0, int channels, int64_t begin, int64_t count, A* target) {
  if (!channels_last) {
    return planes_to_pixels<kSlab>(image + c0 * pixels + begin, pixels, channels, count, target);
  }
  const S* source = image + begin * all_channels + c0;
  if (channels == kSlab) {
    for (int64_t i = 0; i < count; ++i) {
      widen_row(source + i * all_channels, kSlab, target + i * kSlab);
    }
  } else {
    for (int64_t i = 0; i < count; ++i) {
      widen_row(source + i * all_channels, channels, target + i * kSlab);
      for (int c = channels; c < kSlab; ++c) target[i * kSlab + c] = 0;
    }
  }
}

// What load_slab will read of `count` pixels from `begin` on.
template <typename S>
SCRN_INLINE void prefetch_slab(bool channels_last, const S* image, int64_t pixels,
                               int64_t all_channels, int64_t c0, int channels, int64_t begin,
                               int64_t count) {
  const int64_t size = sizeof(S);
  if (channels_last) {
    const S* first = image + begin * all_channels + c0;
    for (int64_t i = 0; i < count; ++i) prefetch(first + i * all_channels, size * channels);
  } else {
    const S* first = image + c0 * pixels + begin;
    for (int c = 0; c < channels; ++c) prefetch(first + c * pixels, size * count);
  }
}

template <int kSlab, typename S, typename A>
SCRN_INLINE void store_slab(bool channels_last, const A* source, int64_t pixels,
                            int64_t all_channels, int64_t c0, int channels, A* planes, S* image) {
  if (channels_last) {
    for (int64_t i = 0; i < pixels; ++i) {
      narrow_row(source + i * kSlab, channels, image + i * all_channels + c0);
    }
    return;
  }
  constexpr int64_t kPlane = kStage;
  for (int64_t begin = 0; begin < pixels; begin += kPlane) {
    const int count = static_cast<int>(pixels - begin < kPlane ? pixels - begin : kPlane);
    pixels_to_planes(source + begin * kSlab, kSlab, kSlab, count, planes, kPlane);
    for (int c = 0; c < channels; ++c) {
      narrow_row(planes + c * kPlane, count, image + (c0 + c) * pixels + begin);
    }
  }
}

template <int kSlab, typename A>
void scatter_chunk(const BackwardTaps<A>& taps, const A* grad, A* target, ptrdiff_t row) {
  for_each_pattern([&](auto rows, auto columns) __attribute__((always_inline)) {
    constexpr int kPattern = rows.value * 4 + columns.value;
    for (int n = taps.weights.start[kPattern]; n < taps.weights.start[kPattern + 1]; ++n) {
      const int i = taps.weights.pixel[n];
      scatter_pixel<rows.value, columns.value, kSlab>(
          taps, i, grad + i * kSlab,
          target + taps.y[i] * row + static_cast<ptrdiff_t>(taps.x[i]) * kSlab, row);
    }
  });
}

template <int kSlab, typename A>
void slope_chunk(const BackwardTaps<A>& taps, const A* grad, const A* input, ptrdiff_t row,
                 A (&result)[2][kChunk]) {
  A lanes[2][kChunk * kLanes<A>];
  for (int n = taps.slopes.start[0]; n < taps.slopes.start[1]; ++n) {
    const int at = taps.slopes.pixel[n] * kLanes<A>;
    store(lanes[0] + at, Value<A>{});
    store(lanes[1] + at, Value<A>{});
  }
  for_each_pattern([&](auto rows, auto columns) __attribute__((always_inline)) {
    constexpr int kPattern = rows.value * 4 + columns.value;
    for (int n = taps.slopes.start[kPattern]; n < taps.slopes.start[kPattern + 1]; ++n) {
      const int i = taps.slopes.pixel[n];
      slope_pixel<rows.value, columns.value, kSlab>(
          taps, i, grad + i * kSlab,
          input + taps.y[i] * row + static_cast<ptrdiff_t>(taps.x[i]) * kSlab, row,
          lanes[0] + i * kLanes<A>, lanes[1] + i * kLanes<A>);
    }
  });
  sum_lanes(lanes[0], kChunk, result[0]);
  sum_lanes(lanes[1], kChunk, result[1]);
}

template <int kSlab, typename S, typename A>
void scatter_slab(const BackwardPlan& plan, int64_t b, int64_t slab, int64_t c0, int channels) {
  const SampleBackwardParams& p = plan.params;
  const SampleShape& shape = p.shape;
  const int64_t in_pixels = static_cast<int64_t>(shape.in_h) * shape.in_w;
  const int64_t out_pixels = static_cast<int64_t>(shape.out_h) * shape.out_w;
  const int64_t chunks = divide_up(out_pixels, kChunk);
  const int64_t task = b * plan.slabs + slab;
  const bool last = shape.channels_last;
  A* stage = static_cast<A*>(thread_scratch(sizeof(A) * kStage * kSlab));
  A* input = nullptr;
  A* target = nullptr;
  if (p.grad_offset != nullptr) {
    input = static_cast<A*>(plan.input) + task * in_pixels * plan.slab_width;
    load_slab<kSlab>(last, static_cast<const S*>(p.input) + b * shape.channels * in_pixels,
                     in_pixels, shape.channels, c0, channels, 0, in_pixels, input);
  }
  if (p.grad_input != nullptr) {
    target = static_cast<A*>(plan.grad_input) + task * in_pixels * plan.slab_width;
    memset(target, 0, sizeof(A) * in_pixels * kSlab);
  }
  const S* grad = static_cast<const S*>(p.grad_output) + b * shape.channels * out_pixels;
  const BackwardTaps<A>* taps = static_cast<const BackwardTaps<A>*>(plan.taps) + b * chunks;
  const ptrdiff_t row = static_cast<ptrdiff_t>(shape.in_w) * kSlab;
  for (int64_t begin = 0; begin < out_pixels; begin += kStage) {
    const int64_t count = out_pixels - begin < kStage ? out_pixels - begin : kStage;
    load_slab<kSlab>(last, grad, out_pixels, shape.channels, c0, channels, begin, count, stage);
    for (int64_t i = 0; i < count; i += kChunk) {
      const int64_t index = (begin + i) / kChunk;
      const BackwardTaps<A>& chunk = taps[index];
      // What the hardware does not foresee: runs that are apart, tables read in no order.
      if (index + 2 < chunks) prefetch(taps + index + 2, sizeof(chunk));
      const int64_t later = begin + kStage + i, left = out_pixels - later;
      if (left > 0) {
        prefetch_slab(last, grad, out_pixels, shape.channels, c0, channels, later,
                      left < kChunk ? left : kChunk);
      }
      if (p.grad_offset != nullptr) {
        A result[2][kChunk];
        slope_chunk<kSlab>(chunk, stage + i * kSlab, input, row, result);
        const int64_t size = count - i < kChunk ? count - i : kChunk;
        A* part = static_cast<A*>(plan.grad_offset) + task * 2 * out_pixels + begin + i;
        memcpy(part, result[0], sizeof(A) * size);
        memcpy(part + out_pixels, result[1], sizeof(A) * size);
      }
      if (p.grad_input != nullptr) scatter_chunk<kSlab>(chunk, stage + i * kSlab, target, row);
    }
  }
  if (p.grad_input != nullptr) {
    store_slab<kSlab>(last, target, in_pixels, shape.channels, c0, channels, stage,
                      static_cast<S*>(p.grad_input) + b * shape.channels * in_pixels);
  }
}

template <typename A>
void locate_backward_tasks(const BackwardPlan& plan, int64_t begin, int64_t end) {
  const SampleShape& shape = plan.params.shape;
  const int64_t chunks = divide_up(static_cast<int64_t>(shape.out_h) * shape.out_w, kChunk);
  for (int64_t task = begin; task < end; ++task) {
    locate_backward<A>(plan, task / chunks, task % chunks,
                       static_cast<BackwardTaps<A>*>(plan.taps)[task]);
  }
}

template <typename S, typename A>
void scatter_tasks(const BackwardPlan& plan, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    const int64_t b = task / plan.slabs, slab = task % plan.slabs;
    const int64_t c0 = slab * plan.slab_width, left = plan.params.shape.channels - c0;
    const int channels = static_cast<int>(left < plan.slab_width ? left : plan.slab_width);
    if (channels > 16) {
      scatter_slab<32, S, A>(plan, b, slab, c0, channels);
    } else {
      scatter_slab<16, S, A>(plan, b, slab, c0, channels);
    }
  }
}

template <typename A>
void reduce_tasks(const BackwardPlan& plan, int64_t begin, int64_t end) {
  const SampleShape& shape = plan.params.shape;
  const int64_t out_pixels = static_cast<int64_t>(shape.out_h) * shape.out_w;
  const int64_t chunks = divide_up(2 * out_pixels, kChunk);  // x and y joined
  for (int64_t task = begin; task < end; ++task) {
    const int64_t b = task / chunks, first = task % chunks * kChunk;
    const int64_t left = 2 * out_pixels - first;
    const int count = static_cast<int>(left < kChunk ? left : kChunk);
    const A* part =
        static_cast<const A*>(plan.grad_offset) + b * plan.slabs * 2 * out_pixels + first;
    A sum[kChunk];
    memcpy(sum, part, sizeof(A) * count);
    for (int64_t slab = 1; slab < plan.slabs; ++slab) {
      part += 2 * out_pixels;
      for (int i = 0; i < count; ++i) sum[i] += part[i];
    }
    store_row(plan.params.offset_dtype, sum, count, plan.params.grad_offset,
              b * 2 * out_pixels + first);
  }
}

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
