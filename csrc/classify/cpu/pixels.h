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
  A* exponentials = nullptr;           // of two tiles of whole_ratio.h
  A* values = nullptr;                 // of a tile of whole_ratio.h, or null
  int32_t* labels = nullptr;           // [tile_rows][label_pitch]: of rows of pixels
  int64_t label_pitch = 0;
  int32_t top = 0, bottom = 0;  // parities of the row of cells' rows of nodes
  int32_t cell = 0;             // the row of cells, below the node of that number
  bool counts = false;          // whether the row of cells is this task's
  TaskResult result;

  int64_t stride() const { return part.stride; }
  int32_t slots() const { return plan->shape.classes < kManyClasses ? kSlots : 2; }
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

// Wide enough for every label, and no wider.
template <typename T>
struct LabelInteger {
  using type = int32_t;
};
template <>
struct LabelInteger<int64_t> {
  using type = int64_t;
};

// All ones or zeros: that is what compilers turn into comparisons of registers.
template <typename I>
SCRN_INLINE I mask_of(bool condition) {
  return -static_cast<I>(condition);
}

// Converts the labels of row y of pixels, for read_labels; `r`: the row's place in the tile.
template <typename T, typename A>
void begin_pixels(LossState<A>& s, int32_t y, int r) {
  using I = typename LabelInteger<T>::type;
  const LossPlan& plan = *s.plan;
  const int32_t begin = s.first(0), count = s.first(s.part.cells) - begin;
  const T* const row = static_cast<const T*>(plan.target) + s.pixel(y, begin);
  int32_t* const labels = s.labels + r * s.label_pitch;
  const I classes = static_cast<I>(plan.shape.classes), ignored = static_cast<I>(plan.ignore_index);
  // An index beyond the labels' type ignores none.
  const I ignores = mask_of<I>(static_cast<int64_t>(ignored) == plan.ignore_index);
  I wrong = 0, found = 0;
  for (int32_t i = 0; i < count; ++i) {
    const I label = static_cast<I>(row[i]);
    const I inside = mask_of<I>(label >= 0) & mask_of<I>(label < classes);
    const I left_out = mask_of<I>(label == ignored) & ignores;
    const I valid = inside & ~left_out;
    labels[i] = static_cast<int32_t>((label & valid) | ~valid);
    wrong |= ~(inside | left_out);
    found |= valid;
  }
  s.result.valid |= found != 0;
  if (wrong == 0 || s.result.wrong_label >= 0) return;
  for (int32_t i = 0; s.result.wrong_label < 0; ++i) {
    const int64_t label = static_cast<int64_t>(row[i]);
    const bool inside = label >= 0 && label < plan.shape.classes;
    if (!inside && label != plan.ignore_index) s.result.wrong_label = s.pixel(y, begin + i);
  }
}

template <typename A>
SCRN_INLINE void begin_pixels_as(LossState<A>& s, int32_t y, int r) {
  switch (s.plan->target_type) {
    case LabelType::kUint8:
      return begin_pixels<uint8_t>(s, y, r);
    case LabelType::kInt32:
      return begin_pixels<int32_t>(s, y, r);
    case LabelType::kInt64:
      return begin_pixels<int64_t>(s, y, r);
  }
}

// Labels by slot and cell from local cell p on; -1: no pixel, or one without a class.
template <int N, typename A>
SCRN_INLINE void read_labels(const LossState<A>& s, int r, int32_t p, int32_t slot,
                             Labels<A>* labels) {
  const int32_t* const row = s.labels + r * s.label_pitch;
  const int32_t* const first = s.plan->x.first + s.part.cell0() + p + 1;
  const Index<A> present = iota<A>() + broadcast_index<A>(p) < broadcast_index<A>(s.part.cells);
  const Index<A> origin = broadcast_index<A>(s.first(0) - slot);
  const Index<A> begin = load_index(first, A(0)) - origin;
  const Index<A> end = load_index(first + 1, A(0)) - broadcast_index<A>(s.first(0));
  for (int n = 0; n < N; ++n) {
    const Index<A> at = begin + n;
    const Index<A> inside = (at < end) & present;
    const Index<A> label = gather(row, at & inside);
    store_index(labels[n], label | ~inside);
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

// Two neighbouring nodes.
template <typename A>
struct PairOf {
  typedef A type __attribute__((vector_size(2 * sizeof(A))));
};
template <typename A>
using Pair = typename PairOf<A>::type;

template <typename A>
struct PairWeights {
  Pair<A> top, bottom;
};

template <typename A>
SCRN_INLINE PairWeights<A> pair_weights(A left, A right, A above, A below) {
  return {Pair<A>{left * above, right * above}, Pair<A>{left * below, right * below}};
}

// The sum of what the nodes' values have at pixels of one cell: `w` are the pixels' weights,
// summed, and `factor` times them is added to the gradients. `nodes` and `gradients` are by parity.
template <typename A>
SCRN_INLINE A add_weights(const LossState<A>& s, A* const* nodes, A* const* gradients, int64_t at,
                          const PairWeights<A>& w, A factor) {
  const Pair<A> part = w.top * read_as<Pair<A>>(nodes[s.top] + at) +
                       w.bottom * read_as<Pair<A>>(nodes[s.bottom] + at);
  if (gradients[0] != nullptr) {
    A *top = gradients[s.top] + at, *bottom = gradients[s.bottom] + at;
    // One after the other: the two rows may be one.
    write_as(top, read_as<Pair<A>>(top) + factor * w.top);
    write_as(bottom, read_as<Pair<A>>(bottom) + factor * w.bottom);
  }
  return or_infinite(part[0] + part[1]);
}

// Of pixels of one label, without smoothing: how far what is linear in the logits lowers the loss.
template <typename A>
SCRN_INLINE double add_own(const LossState<A>& s, int32_t cell, int32_t label,
                           const PairWeights<A>& w, A hard) {
  const A own = add_weights(s, s.nodes, s.gradient, label * s.stride() + cell, w, -hard);
  return hard == 0 ? 0 : static_cast<double>(hard * own);
}

// The same with smoothing; `scale` is the gradient that comes in.
template <typename A>
SCRN_INLINE double add_label(const LossState<A>& s, int32_t cell, int32_t label,
                             const PairWeights<A>& w, A scale) {
  const double own = add_own(s, cell, label, w, s.hard()[label] * scale);
  if (s.uniform[0] == nullptr) return own;
  return own + static_cast<double>(scale * add_weights(s, s.uniform, s.cover, cell, w, scale));
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
