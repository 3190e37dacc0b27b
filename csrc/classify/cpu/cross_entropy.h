#pragma once

// A task of the cross-entropy: down the rows of cells of its part.

#include "whole_ratio.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

template <typename A>
int64_t lay_out(const LossPlan& plan, void* memory, LossState<A>& s) {
  Scratch scratch(memory);
  const int64_t classes = plan.shape.classes, stride = s.stride();
  const bool smooths = plan.uniform != nullptr;
  for (int i = 0; i < 2; ++i) {
    s.nodes[i] = scratch.take<A>(classes * stride);
    if (plan.gradient != nullptr) s.gradient[i] = scratch.take<A>(classes * stride);
    if (smooths) s.uniform[i] = scratch.take<A>(stride);
    if (smooths && plan.gradient != nullptr) s.cover[i] = scratch.take<A>(stride);
  }
  s.scratch = scratch.take<A>(classes * s.slots() * kLanes<A>);
  if (plan.geometric) {
    // One register more, which is read from its last lane on.
    s.exponentials = scratch.take<A>((2 * classes * plan.tile_rows + 1) * kLanes<A>);
  }
  if (plan.geometric && plan.gradient != nullptr && classes < kFewClasses) {
    s.values = scratch.take<A>(classes * plan.tile_rows * plan.x.ratio * kLanes<A>);
  }
  s.label_pitch = s.first(s.part.cells) - s.first(0) + kLanes<A>;
  s.labels = scratch.take<int32_t>((plan.geometric ? plan.tile_rows : 1) * s.label_pitch);
  return scratch.used();
}

template <typename A>
void begin_row(LossState<A>& s, int32_t row) {
  const LossPlan& plan = *s.plan;
  const int64_t classes = plan.shape.classes, stride = s.stride();
  A* const nodes = s.nodes[row & 1];
  read_row_as(plan.shape, plan.logits, s.part, row, nodes);
  make_relative(classes, s.part, nodes);
  if (plan.gradient != nullptr) {
    memset(s.gradient[row & 1], 0, sizeof(A) * classes * stride);
  }
  if (plan.uniform == nullptr) return;
  A* const sums = s.uniform[row & 1];
  const A* const factors = static_cast<const A*>(plan.uniform);
  memset(sums, 0, sizeof(A) * stride);
  for (int64_t k = 0; k < classes; ++k) {
    if (factors[k] == 0) continue;
    for (int64_t i = 0; i < stride; ++i) sums[i] += factors[k] * nodes[k * stride + i];
  }
  if (plan.gradient != nullptr) memset(s.cover[row & 1], 0, sizeof(A) * stride);
}

template <typename A>
void cross_entropy_task(const LossPlan& plan, int64_t task) {
  LossState<A> s;
  s.plan = &plan;
  s.part = part_of<A>(plan.shape, plan.tiling, task);
  void* const memory = thread_scratch(lay_out<A>(plan, nullptr, s));
  lay_out<A>(plan, memory, s);
  const int32_t last = plan.shape.in_h - 1;
  int32_t loaded = -1;
  for (int32_t cell = s.part.row0 - 1; cell < s.part.row1; ++cell) {
    const int32_t above = cell < 0 ? 0 : cell, below = cell < last ? cell + 1 : last;
    for (int32_t row = loaded < above ? above : loaded + 1; row <= below; ++row) {
      begin_row(s, row);
      loaded = row;
    }
    s.top = above & 1;
    s.bottom = below & 1;
    s.cell = cell;
    s.counts = s.part.row_counts(cell);
    const int32_t y0 = plan.y.first[cell + 1], y1 = plan.y.first[cell + 2];
    if (!whole_rows_as(s, y0, y1)) {
      for (int32_t y = y0; y < y1; ++y) {
        begin_pixels_as(s, y, 0);
        for (int32_t p = 0; p < s.part.cells; p += kLanes<A>) pixel_row(s, y, 0, p);
      }
    }
    if (plan.gradient != nullptr && cell >= s.part.row0) {
      finish_row(plan, s.part, cell, s.gradient[cell & 1], s.cover[cell & 1]);
    }
  }
  if (plan.results != nullptr) plan.results[task] = s.result;
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
