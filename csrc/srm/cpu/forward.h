#pragma once

// The forward of Eq. 4, with Eq. 3 in front of it where there is a mask.

#include "forward_pixel.h"
#include "rows.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

// Where pixels x0 .. x0 + count - 1 of row y sample, as taps; writes `aggregated` on the way.
template <typename A>
void locate_chunk(const ForwardPlan& plan, int64_t b, int64_t y, int64_t x0, int count,
                  ForwardTaps<A>& taps) {
  const SampleForwardParams& p = plan.params;
  const int64_t height = p.shape.out_h, width = p.shape.out_w;
  A offset_x[kChunk + kPadding], offset_y[kChunk + kPadding];
  const int64_t index_x = (b * 2 * height + y) * width + x0;
  const int64_t index_y = index_x + height * width;
  if (p.mask != nullptr) {
    AggregateForwardParams a;
    a.height = p.shape.out_h;
    a.width = p.shape.out_w;
    a.offset_dtype = p.offset_dtype;
    a.mask_dtype = p.mask_dtype;
    a.mask_is_logits = p.mask_is_logits;
    a.offset = p.offset;
    a.mask = p.mask;
    aggregate_chunk<A>(a, b, y, x0, count, offset_x, offset_y);
    if (p.aggregated != nullptr) {
      memcpy(static_cast<A*>(p.aggregated) + index_x, offset_x, sizeof(A) * count);
      memcpy(static_cast<A*>(p.aggregated) + index_y, offset_y, sizeof(A) * count);
    }
  } else {
    load_row(p.offset_dtype, p.offset, index_x, count, offset_x);
    load_row(p.offset_dtype, p.offset, index_y, count, offset_y);
  }
  for (int i = count; i < (count + kPadding); ++i) offset_x[i] = offset_y[i] = 0;
  forward_taps<A>(plan.y, plan.x, y, x0, count, offset_x, offset_y, taps);
}

template <bool kSkip, typename S, typename A>
void sample_row_last(const ForwardPlan& plan, int64_t b, int64_t y) {
  const SampleForwardParams& p = plan.params;
  const SampleShape& shape = p.shape;
  const int64_t channels = shape.channels, width = shape.out_w;
  const ptrdiff_t row = shape.in_w * channels;
  const S* input = static_cast<const S*>(p.input) + b * shape.in_h * row;
  const int64_t start = (b * shape.out_h + y) * width;
  ForwardTaps<A> taps;
  for (int64_t x0 = 0; x0 < width; x0 += kChunk) {
    const int count = static_cast<int>(width - x0 < kChunk ? width - x0 : kChunk);
    locate_chunk<A>(plan, b, y, x0, count, taps);
    for (int i = 0; i < count; ++i) {
      const int64_t at = (start + x0 + i) * channels;
      const Window<S> window = {input + taps.y[i] * row + taps.x[i] * channels, row, channels};
      const S* skip = kSkip ? static_cast<const S*>(p.skip) + at : nullptr;
      S* output = static_cast<S*>(p.output) + at;
      const A* weight = &taps.weight[0][i];
      const int pattern = taps.pattern[i];
      if (pattern == 0 || channels < kLanes<A>) {
        sample_narrow_pixel<kSkip>(pattern >> 2, pattern & 3, window, weight, skip, output,
                                   channels);
        continue;
      }
      for_pattern(pattern, [&](auto rows, auto columns) __attribute__((always_inline)) {
        sample_pixel<rows.value, columns.value, kSkip>(window, weight, skip, output, channels,
                                                       plan.streams);
      });
    }
  }
}

template <typename S, typename A>
void sample_rows_last(const ForwardPlan& plan, int64_t begin, int64_t end) {
  const int64_t height = plan.params.shape.out_h;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t b = task / height, y = task % height;
    if (plan.params.skip != nullptr) {
      sample_row_last<true, S, A>(plan, b, y);
    } else {
      sample_row_last<false, S, A>(plan, b, y);
    }
  }
  fence_streams();
}

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
