#pragma once

// Rows of offsets, masks and results: Eq. 3 over a chunk of a row, the sum with the skip.

#include "../../common/cpu/exp.h"
#include "../../common/cpu/rows.h"
#include "isa.h"
#include "plan.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

// target = source, or source + skip, rounded once. Meanwhile the cache lines that the same call
// for the next plane will need, `next` elements further, are requested.
template <bool kSkip, typename S, typename A>
SCRN_INLINE void write_row(const A* source, const S* skip, int count, S* target, int64_t next,
                           bool streams) {
  constexpr int kLine = 64 / sizeof(S);
  int i = 0;
  for (; i + kLine <= count; i += kLine) {
    if constexpr (kSkip) __builtin_prefetch(skip + next + i);
    if (!streams) __builtin_prefetch(target + next + i, 1);
    for (int j = 0; j < kLine; j += kLanes<A>) {
      Value<A> sum = load(source + i + j);
      if constexpr (kSkip) sum += load(skip + i + j);
      put(target + i + j, sum, streams);
    }
  }
  for (; i < count; ++i) {
    A sum = source[i];
    if constexpr (kSkip) sum += widen(skip[i]);
    narrow(sum, target[i]);
  }
}

template <typename A>
SCRN_INLINE void softmax9(Value<A> (&v)[9]) {
  Value<A> top = v[0];
  for (int k = 1; k < 9; ++k) top = v[k] > top ? v[k] : top;
  Value<A> sum = {};
  for (int k = 0; k < 9; ++k) {
    v[k] = exp_negative(v[k] - top);
    sum += v[k];
  }
  const Value<A> inverse = A(1) / sum;
  for (int k = 0; k < 9; ++k) v[k] *= inverse;
}
// In place, over nine rows `stride` elements apart, for `count` columns, a whole number of
// registers.
template <typename A>
void softmax9(A* logits, int stride, int count) {
  for (int i = 0; i < count; i += kLanes<A>) {
    Value<A> v[9];
    for (int k = 0; k < 9; ++k) v[k] = load(logits + k * stride + i);
    softmax9<A>(v);
    for (int k = 0; k < 9; ++k) store(logits + k * stride + i, v[k]);
  }
}

// Columns x0 - 1 .. x0 + count of a row of a [.., height, width] plane, zero outside the plane.
template <typename A>
void load_bordered_row(DType dtype, const void* base, int64_t plane, int32_t height, int32_t width,
                       int64_t y, int64_t x0, int count, A* target) {
  if (y < 0 || y >= height) {
    memset(target, 0, sizeof(A) * (count + 2));
    return;
  }
  const int64_t left = x0 > 0 ? x0 - 1 : 0;
  const int64_t right = x0 + count < width ? x0 + count : width - 1;
  A* first = target + (left - (x0 - 1));
  const int loaded = static_cast<int>(right - left + 1);
  if (first != target) target[0] = 0;
  load_row(dtype, base, (plane * height + y) * width + left, loaded, first);
  if (first + loaded != target + count + 2) first[loaded] = 0;
}

// Eq. 3 at pixels x0 .. x0 + count - 1 of row y, count <= kChunk; the results may be written up
// to a whole register further.
template <typename A>
void aggregate_chunk(const AggregateForwardParams& p, int64_t b, int64_t y, int64_t x0, int count,
                     A* result_x, A* result_y) {
  A mask[9][kChunk + kPadding];
  A offset[3][2][kChunk + 2 + kPadding];
  const int whole = (count + kLanes<A> - 1) / kLanes<A> * kLanes<A>;
  for (int k = 0; k < 9; ++k) {
    const int64_t index = ((b * 9 + k) * p.height + y) * p.width + x0;
    load_row(p.mask_dtype, p.mask, index, count, mask[k]);
    for (int i = count; i < whole; ++i) mask[k][i] = 0;
    // The next chunk's, unless a tile ends here.
    const int64_t size = size_of(p.mask_dtype);
    prefetch(static_cast<const char*>(p.mask) + (index + count) * size, kChunk * size);
  }
  for (int dy = 0; dy < 3; ++dy) {
    for (int axis = 0; axis < 2; ++axis) {
      A* row = offset[dy][axis];
      load_bordered_row(p.offset_dtype, p.offset, b * 2 + axis, p.height, p.width, y + dy - 1, x0,
                        count, row);
      for (int i = count; i < whole; ++i) row[i + 2] = 0;
    }
  }
  for (int i = 0; i < whole; i += kLanes<A>) {
    Value<A> m[9];
    for (int k = 0; k < 9; ++k) m[k] = load(mask[k] + i);
    if (p.mask_is_logits) softmax9<A>(m);
    Value<A> sum_x = {}, sum_y = {};
    for (int k = 0; k < 9; ++k) {
      sum_x = fma(m[k], load(offset[k / 3][0] + i + k % 3), sum_x);
      sum_y = fma(m[k], load(offset[k / 3][1] + i + k % 3), sum_y);
    }
    store(result_x + i, sum_x);
    store(result_y + i, sum_y);
  }
}

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
