#pragma once

// What the pixels of a tile have of their labels: factors, and their part in loss and gradient
// that is linear in the logits.

#include "strip.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

// A task at work on one row of cells.
template <typename A>
struct LossState {
  const LossPlan* plan = nullptr;
  Part part;
  // By parity of the row of nodes: [K][stride], those without a class [stride].
  A *nodes[2] = {}, *gradient[2] = {};
  A *uniform[2] = {}, *cover[2] = {};  // label smoothing: sum_k uniform_k u_k, pixels' share
  A* scratch = nullptr;                // of a tile
  int32_t top = 0, bottom = 0;         // parities of the row of cells' rows of nodes
  bool counts = false;                 // whether the row of cells is this task's
  TaskResult result;

  int64_t stride() const { return part.stride; }
  const A* soft() const { return static_cast<const A*>(plan->soft) + 1; }
  const A* hard() const { return static_cast<const A*>(plan->hard) + 1; }
  int64_t pixel(int32_t y, int32_t x) const {
    return (part.image * plan->shape.out_h + y) * plan->shape.out_w + x;
  }
  // The first pixel of a local cell, and that of the next one.
  int32_t first(int32_t cell) const { return plan->x.first[part.cell0() + cell + 1]; }
};

template <typename A>
using Labels = int32_t[kLanes<A>];

// Labels of row y by slot and cell from local cell p on; -1: no pixel, or one without a class.
template <int N, typename T, typename A>
void read_labels(LossState<A>& s, int32_t y, int32_t p, int32_t slot, Labels<A>* labels) {
  const LossPlan& plan = *s.plan;
  const T* const row = static_cast<const T*>(plan.target) + s.pixel(y, 0);
  const int64_t classes = plan.shape.classes, ignored = plan.ignore_index;
  for (int i = 0; i < kLanes<A>; ++i) {
    if (p + i >= s.part.cells) {
      for (int n = 0; n < N; ++n) labels[n][i] = -1;
      continue;
    }
    const int32_t begin = s.first(p + i) + slot, count = s.first(p + i + 1) - begin;
    for (int n = 0; n < N; ++n) {
      if (n >= count) {
        labels[n][i] = -1;
        continue;
      }
      const int64_t label = static_cast<int64_t>(row[begin + n]);
      const bool valid = static_cast<uint64_t>(label) < static_cast<uint64_t>(classes);
      labels[n][i] = valid && label != ignored ? static_cast<int32_t>(label) : -1;
      if (!valid && label != ignored && s.result.wrong_label < 0) {
        s.result.wrong_label = s.pixel(y, begin + n);
      }
    }
  }
}

template <int N, typename A>
void read_labels_as(LossState<A>& s, int32_t y, int32_t p, int32_t slot, Labels<A>* labels) {
  switch (s.plan->target_type) {
    case LabelType::kUint8:
      return read_labels<N, uint8_t>(s, y, p, slot, labels);
    case LabelType::kInt32:
      return read_labels<N, int32_t>(s, y, p, slot, labels);
    case LabelType::kInt64:
      return read_labels<N, int64_t>(s, y, p, slot, labels);
  }
}

// Every lane's entry of a table by label.
template <typename A>
SCRN_INLINE Value<A> look_up(const A* table, const Labels<A>& labels) {
  Value<A> result;
  for (int i = 0; i < kLanes<A>; ++i) result[i] = table[labels[i]];
  return result;
}
template <typename A>
SCRN_INLINE Index<A> valid_of(const Labels<A>& labels) {
  return load_index(labels, A(0)) >= 0;
}

// All ones in the lanes of cells that are this task's.
template <typename A>
SCRN_INLINE Index<A> counted(const LossState<A>& s, int32_t p) {
  if (!s.counts) return Index<A>{};
  Index<A> mask = ~Index<A>{};
  if (p == 0 && !s.part.first_column_counts()) mask[0] = 0;
  return mask;
}

template <typename A>
SCRN_INLINE bool counted(const LossState<A>& s, int32_t p, int lane) {
  return s.counts && (p + lane > 0 || s.part.first_column_counts());
}

// Values at the corners of one cell: left and right of the row above and of that below.
template <typename A>
struct Corners {
  A top_left, top_right, bottom_left, bottom_right;
};

template <typename A>
SCRN_INLINE Corners<A> corners_of(A right, A below) {
  return {(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right};
}

template <typename A>
SCRN_INLINE A weighted(const Corners<A>& w, const A* top, const A* bottom) {
  A sum = 0;  // a corner of weight 0 may be lowest
  if (w.top_left != 0) sum += w.top_left * top[0];
  if (w.top_right != 0) sum += w.top_right * top[1];
  if (w.bottom_left != 0) sum += w.bottom_left * bottom[0];
  if (w.bottom_right != 0) sum += w.bottom_right * bottom[1];
  // Minus infinity at a corner is kLowest, and logits further than this apart are not finite.
  return sum < A(-1e20) ? -static_cast<A>(__builtin_inf()) : sum;
}

template <typename A>
SCRN_INLINE void add(const Corners<A>& w, A factor, A* top, A* bottom) {
  top[0] += w.top_left * factor;
  top[1] += w.top_right * factor;
  bottom[0] += w.bottom_left * factor;
  bottom[1] += w.bottom_right * factor;
}

// What is linear in the logits, of pixels of one label in one cell: `w` are their weights,
// summed, `scale` the gradient that comes in. The loss's part is returned.
template <typename A>
SCRN_INLINE double add_label(LossState<A>& s, int32_t cell, int32_t label, const Corners<A>& w,
                             A scale, bool counts) {
  const int64_t at = label * s.stride() + cell;
  const A hard = s.hard()[label] * scale;
  double loss = 0;
  if (counts && hard != 0) {
    loss -= static_cast<double>(hard) *
            static_cast<double>(weighted(w, s.nodes[s.top] + at, s.nodes[s.bottom] + at));
  }
  if (s.gradient[0] != nullptr) {
    add(w, -hard, s.gradient[s.top] + at, s.gradient[s.bottom] + at);
  }
  if (s.uniform[0] != nullptr) {
    if (counts) {
      loss -= static_cast<double>(scale) *
              static_cast<double>(weighted(w, s.uniform[s.top] + cell, s.uniform[s.bottom] + cell));
    }
    if (s.gradient[0] != nullptr) add(w, scale, s.cover[s.top] + cell, s.cover[s.bottom] + cell);
  }
  return loss;
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
