#pragma once

// Eq. 3 alone, forward and backward.

#include "rows.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

// A task is a row.
template <typename A>
void aggregate_rows(const AggregateForwardParams& p, int64_t begin, int64_t end) {
  A result[2][kChunk + kPadding];
  const int64_t plane = static_cast<int64_t>(p.height) * p.width;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t b = task / p.height, y = task % p.height;
    for (int64_t x0 = 0; x0 < p.width; x0 += kChunk) {
      const int count = static_cast<int>(p.width - x0 < kChunk ? p.width - x0 : kChunk);
      aggregate_chunk<A>(p, b, y, x0, count, result[0], result[1]);
      A* target = static_cast<A*>(p.aggregated) + (b * 2 * p.height + y) * p.width + x0;
      memcpy(target, result[0], sizeof(A) * count);
      memcpy(target + plane, result[1], sizeof(A) * count);
    }
  }
}

// What the backward needs of one row, columns x0 - 1 .. x0 + count, zero outside the image.
template <typename A>
struct SourceRow {
  static constexpr int kWidth = kChunk + 2 + kPadding;
  A mask[9][kWidth];
  A grad[2][kWidth];
  A offset[2][kWidth];
};

template <typename A>
void load_source_row(const AggregateBackwardParams& p, int64_t b, int64_t y, int64_t x0, int count,
                     SourceRow<A>& row) {
  const int whole = (count + 2 + kLanes<A> - 1) / kLanes<A> * kLanes<A>;
  const auto load = [&](DType dtype, const void* base, int64_t plane, A* target) {
    load_bordered_row(dtype, base, plane, p.height, p.width, y, x0, count, target);
    for (int i = count + 2; i < SourceRow<A>::kWidth; ++i) target[i] = 0;
  };
  for (int k = 0; k < 9; ++k) load(p.mask_dtype, p.mask, b * 9 + k, row.mask[k]);
  if (p.mask_is_logits) softmax9(row.mask[0], SourceRow<A>::kWidth, whole);
  for (int axis = 0; axis < 2; ++axis) {
    load(p.aggregated_dtype, p.grad_aggregated, b * 2 + axis, row.grad[axis]);
    load(p.offset_dtype, p.offset, b * 2 + axis, row.offset[axis]);
  }
}

// `rows` are the rows above, of, and below the pixels. Gathers, hence in a fixed order.
template <typename A>
void grad_offset_chunk(const SourceRow<A>* const (&rows)[3], int count,
                       A (*result)[kChunk + kPadding]) {
  for (int i = 0; i < count; i += kLanes<A>) {
    Value<A> sum_x = {}, sum_y = {};
    for (int k = 0; k < 9; ++k) {
      // The pixel whose neighbour k this one is.
      const SourceRow<A>& row = *rows[2 - k / 3];
      const int column = i + 2 - k % 3;
      const Value<A> m = load(row.mask[k] + column);
      sum_x = fma(m, load(row.grad[0] + column), sum_x);
      sum_y = fma(m, load(row.grad[1] + column), sum_y);
    }
    store(result[0] + i, sum_x);
    store(result[1] + i, sum_y);
  }
}

template <typename A>
void grad_mask_chunk(const SourceRow<A>* const (&rows)[3], bool logits, int count,
                     A (*result)[kChunk + kPadding]) {
  for (int i = 0; i < count; i += kLanes<A>) {
    const Value<A> grad_x = load(rows[1]->grad[0] + i + 1), grad_y = load(rows[1]->grad[1] + i + 1);
    Value<A> grad[9], mean = {};
    for (int k = 0; k < 9; ++k) {
      const int column = i + k % 3;
      grad[k] = fma(grad_x, load(rows[k / 3]->offset[0] + column),
                    grad_y * load(rows[k / 3]->offset[1] + column));
      if (logits) mean = fma(load(rows[1]->mask[k] + i + 1), grad[k], mean);
    }
    for (int k = 0; k < 9; ++k) {
      store(result[k] + i, logits ? load(rows[1]->mask[k] + i + 1) * (grad[k] - mean) : grad[k]);
    }
  }
}

// A task is a band of rows.
template <typename A>
void aggregate_bands(const AggregateBackwardParams& p, int64_t begin, int64_t end) {
  const int64_t bands = (p.height + kAggregateRows - 1) / kAggregateRows;
  SourceRow<A> memory[3];
  A result[9][kChunk + kPadding];
  for (int64_t task = begin; task < end; ++task) {
    const int64_t b = task / bands, y0 = task % bands * kAggregateRows;
    const int64_t y1 = y0 + kAggregateRows < p.height ? y0 + kAggregateRows : p.height;
    for (int64_t x0 = 0; x0 < p.width; x0 += kChunk) {
      const int count = static_cast<int>(p.width - x0 < kChunk ? p.width - x0 : kChunk);
      load_source_row(p, b, y0 - 1, x0, count, memory[0]);
      load_source_row(p, b, y0, x0, count, memory[1]);
      for (int64_t y = y0; y < y1; ++y) {
        const int64_t n = y - y0;
        load_source_row(p, b, y + 1, x0, count, memory[(n + 2) % 3]);
        const SourceRow<A>* const rows[3] = {&memory[n % 3], &memory[(n + 1) % 3],
                                             &memory[(n + 2) % 3]};
        if (p.grad_offset != nullptr) {
          grad_offset_chunk(rows, count, result);
          for (int axis = 0; axis < 2; ++axis) {
            store_row(p.offset_dtype, result[axis], count, p.grad_offset,
                      ((b * 2 + axis) * p.height + y) * p.width + x0);
          }
        }
        if (p.grad_mask != nullptr) {
          grad_mask_chunk(rows, p.mask_is_logits, count, result);
          for (int k = 0; k < 9; ++k) {
            store_row(p.mask_dtype, result[k], count, p.grad_mask,
                      ((b * 9 + k) * p.height + y) * p.width + x0);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
