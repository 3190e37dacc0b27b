#pragma once

// What is requested ahead: no result depends on it.

#include "pixels.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

// Asks for the nodes from local column p on, as many as a register has, in a row of the logits or
// of what lies like them; roughly, as rows may begin within a line of the cache.
SCRN_INLINE void ask_for_nodes(const ResizeShape& shape, const void* map, const Part& part,
                               int32_t row, int32_t p) {
  const int64_t size = static_cast<int64_t>(size_of(shape.dtype)), K = shape.classes;
  const int64_t width = shape.in_w, column = part.cell0() + p + 1;
  if (column >= width) return;
  const char* first = static_cast<const char*>(map);
  if (shape.channels_last) {
    const int64_t count = width - column < kLanes<float> ? width - column : kLanes<float>;
    first += ((part.image * shape.in_h + row) * width + column) * K * size;
    return prefetch(first, count * K * size);
  }
  if (p * size % 64 != 0) return;
  const int64_t plane = width * shape.in_h * size;
  first += part.image * K * plane + (row * width + column) * size;
  for (int64_t k = 0; k < K; ++k, first += plane) __builtin_prefetch(first, 0, 2);
}

// Asks for what a register's cells from p on need next: the labels of the rows of pixels from y on,
// and before the next row of cells its lower nodes and where the gradient of this one's upper nodes
// goes.
template <typename A>
SCRN_INLINE void ask_ahead(const LossState<A>& s, int32_t y, int rows, int32_t p) {
  const LossPlan& plan = *s.plan;
  if (y >= plan.y.first[s.part.row1 + 1]) return;
  const int64_t size = plan.target_type == LabelType::kUint8   ? 1
                       : plan.target_type == LabelType::kInt32 ? 4
                                                               : 8;
  const int32_t end = p + kLanes<A> < s.part.cells ? p + kLanes<A> : s.part.cells;
  const char* const target = static_cast<const char*>(plan.target);
  for (int r = 0; r < rows && y + r < plan.shape.out_h; ++r) {
    prefetch(target + s.pixel(y + r, s.first(p)) * size, (s.first(end) - s.first(p)) * size);
  }
  if (plan.shape.classes >= kFewClasses || y < plan.y.first[s.cell + 2]) return;
  if (s.cell + 2 < plan.shape.in_h) {
    ask_for_nodes(plan.shape, plan.logits, s.part, s.cell + 2, p);
  }
  if (plan.gradient != nullptr && s.cell >= s.part.row0) {
    ask_for_nodes(plan.shape, plan.gradient, s.part, s.cell, p);
  }
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
