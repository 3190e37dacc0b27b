#pragma once

// Upsampled argmax. A convex combination keeps the order of two classes: where the four corners of
// a cell agree, its pixels are decided; elsewhere classes whose largest corner is below another
// one's smallest drop out before anything is interpolated.

#include "any_ratio.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

template <typename A>
struct ArgmaxState {
  const ArgmaxPlan* plan = nullptr;
  Part part;
  A* nodes[2] = {};         // by parity of the row: [K][stride]
  A* best[2] = {};          // [stride]: the largest value, NaN where there is one
  int32_t* label[2] = {};   // [stride]: its class
  A* scratch = nullptr;     // of a tile
  int32_t* kept = nullptr;  // [K]: classes that stay
  int32_t top = 0, bottom = 0;

  int64_t stride() const { return part.stride; }
  int64_t pixel(int32_t y, int32_t x) const {
    const ResizeShape& shape = plan->params.shape;
    return (part.image * shape.out_h + y) * shape.out_w + x;
  }
  int32_t first(int32_t cell) const { return plan->x.first[part.cell0() + cell + 1]; }
};

template <typename A>
int64_t lay_out(const ArgmaxPlan& plan, int32_t cells, void* memory, ArgmaxState<A>& s) {
  Scratch scratch(memory);
  const int64_t classes = plan.params.shape.classes, stride = row_stride<A>(cells);
  for (int i = 0; i < 2; ++i) {
    s.nodes[i] = scratch.take<A>(classes * stride);
    s.best[i] = scratch.take<A>(stride);
    s.label[i] = scratch.take<int32_t>(stride);
  }
  if (plan.params.confidence != nullptr) {
    s.scratch = scratch.take<A>(classes * kSlots * kLanes<A>);
  }
  s.kept = scratch.take<int32_t>(classes);
  return scratch.used();
}

// As torch.argmax: the first of equal values, and NaN above all.
template <typename A>
SCRN_INLINE void take_larger(Value<A> value, Index<A> label, Value<A>& best, Index<A>& best_label) {
  const Index<A> takes = ~(value <= best) & (best == best);
  best = takes != 0 ? value : best;
  best_label = takes != 0 ? label : best_label;
}

template <typename A>
void begin_row(ArgmaxState<A>& s, int32_t row) {
  const ResizeShape& shape = s.plan->params.shape;
  const int64_t stride = s.stride();
  A* const nodes = s.nodes[row & 1];
  read_row_as(shape, s.plan->params.logits, s.part, row, nodes);
  const Value<A> lowest = broadcast<A>(kLowest<A>);
  for (int64_t i = 0; i < stride; i += kLanes<A>) {
    Value<A> best = larger(lowest, load(nodes + i));
    store(nodes + i, best);
    Index<A> label{};
    for (int64_t k = 1; k < shape.classes; ++k) {
      A* const p = nodes + k * stride + i;
      const Value<A> value = larger(lowest, load(p));
      store(p, value);
      take_larger<A>(value, broadcast_index<A>(k), best, label);
    }
    store(s.best[row & 1] + i, best);
    store_index(s.label[row & 1] + i, label);
  }
}

// Writes row y's labels of the cells that are set in `cells`.
template <typename L, typename A, int N>
SCRN_INLINE void write_labels(const ArgmaxState<A>& s, int32_t y, int32_t p, int32_t slot,
                              uint32_t cells, const Index<A> (&label)[N]) {
  L* const out = static_cast<L*>(s.plan->params.labels) + s.pixel(y, 0);
  for (int i = 0; i < kLanes<A>; ++i) {
    if ((cells >> i & 1) == 0) continue;
    const int32_t begin = s.first(p + i) + slot, count = s.first(p + i + 1) - begin;
    for (int n = 0; n < N && n < count; ++n) out[begin + n] = static_cast<L>(label[n][i]);
  }
}

template <typename L, typename A, int N>
SCRN_INLINE void pixel_labels(ArgmaxState<A>& s, int32_t y, int32_t p, int32_t slot, uint32_t cells,
                              int32_t kept) {
  const A below = static_cast<const A*>(s.plan->y.share)[y];
  Value<A> share[N], best[N];
  Index<A> label[N] = {};
  load_shares<A>(s.plan->x, s.part.cell0() + p, slot, share);
  for (int32_t j = 0; j < kept; ++j) {
    const int64_t at = s.kept[j] * s.stride() + p;
    const A *top = s.nodes[s.top] + at, *bottom = s.nodes[s.bottom] + at;
    const Value<A> weight = broadcast(below);
    const Value<A> left = fma(load(bottom), weight, load(top) * (A(1) - weight));
    const Value<A> right = fma(load(bottom + 1), weight, load(top + 1) * (A(1) - weight));
    const Index<A> k = broadcast_index<A>(s.kept[j]);
    for (int n = 0; n < N; ++n) {
      const Value<A> value = fma(share[n], right, left * (A(1) - share[n]));
      if (j == 0) {
        best[n] = value;
        label[n] = k;
      } else {
        take_larger<A>(value, k, best[n], label[n]);
      }
    }
  }
  write_labels<L, A, N>(s, y, p, slot, cells, label);
}

template <typename L, typename A, int N>
SCRN_INLINE void pixel_confidences(ArgmaxState<A>& s, int32_t y, int32_t p, int32_t slot,
                                   uint32_t cells) {
  const int64_t classes = s.plan->params.shape.classes;
  const A below = static_cast<const A*>(s.plan->y.share)[y];
  const PixelRow<A> row = {s.nodes[s.top] + p, s.nodes[s.bottom] + p, s.stride(), 1 - below, below};
  Value<A> share[N], largest[N], sum[N];
  load_shares<A>(s.plan->x, s.part.cell0() + p, slot, share);
  safe_exponentials<A, N>(row, classes, share, s.scratch, sum, largest);
  float* const out = s.plan->params.confidence + s.pixel(y, 0);
  for (int i = 0; i < kLanes<A>; ++i) {
    if ((cells >> i & 1) == 0) continue;
    const int32_t begin = s.first(p + i) + slot, count = s.first(p + i + 1) - begin;
    for (int n = 0; n < N && n < count; ++n) {
      // No class is left where all are minus infinity.
      const A confidence = largest[n][i] >= kInfinite<A> ? 1 / sum[n][i] : A(__builtin_nan(""));
      out[begin + n] = static_cast<float>(confidence);
    }
  }
}

// The classes of the tile at p that may win in one of its cells: their number, in s.kept.
template <typename A>
int32_t keep_classes(ArgmaxState<A>& s, int32_t p) {
  const int64_t classes = s.plan->params.shape.classes, stride = s.stride();
  const A *top = s.nodes[s.top] + p, *bottom = s.nodes[s.bottom] + p;
  const A *best_top = s.best[s.top] + p, *best_bottom = s.best[s.bottom] + p;
  const Value<A> sum =
      load(best_top) + load(best_top + 1) + load(best_bottom) + load(best_bottom + 1);
  int32_t kept = 0;
  if (any(sum != sum)) {
    for (int64_t k = 0; k < classes; ++k) s.kept[kept++] = static_cast<int32_t>(k);
    return kept;
  }
  Value<A> guaranteed = broadcast(static_cast<A>(-__builtin_inf()));
  for (int64_t k = 0; k < classes; ++k) {
    const A *t = top + k * stride, *b = bottom + k * stride;
    guaranteed =
        larger(smaller(smaller(load(t), load(t + 1)), smaller(load(b), load(b + 1))), guaranteed);
  }
  for (int64_t k = 0; k < classes; ++k) {
    const A *t = top + k * stride, *b = bottom + k * stride;
    const Value<A> most = larger(larger(load(t), load(t + 1)), larger(load(b), load(b + 1)));
    if (any(most >= guaranteed)) s.kept[kept++] = static_cast<int32_t>(k);
  }
  return kept;
}

// Calls body<N>(slot) for all slots, up to four at a time.
#define SCRN_FOR_SLOTS(slots, call)                 \
  do {                                              \
    int32_t slot = 0;                               \
    for (; slot + 4 <= (slots); slot += 4) call(4); \
    if ((slots) - slot == 3) call(3);               \
    if ((slots) - slot == 2) call(2);               \
    if ((slots) - slot == 1) call(1);               \
  } while (false)

template <typename L, typename A>
void undecided_tile(ArgmaxState<A>& s, int32_t y0, int32_t y1, int32_t p, uint32_t cells) {
  const int32_t kept = keep_classes(s, p), slots = s.plan->x.slots;
  for (int32_t y = y0; y < y1; ++y) {
#define SCRN_LABELS(N) pixel_labels<L, A, N>(s, y, p, slot, cells, kept)
    SCRN_FOR_SLOTS(slots, SCRN_LABELS);
#undef SCRN_LABELS
  }
}

template <typename L, typename A>
void confidence_tile(ArgmaxState<A>& s, int32_t y0, int32_t y1, int32_t p, uint32_t cells) {
  const int32_t slots = s.plan->x.slots;
  for (int32_t y = y0; y < y1; ++y) {
#define SCRN_CONFIDENCES(N) pixel_confidences<L, A, N>(s, y, p, slot, cells)
    SCRN_FOR_SLOTS(slots, SCRN_CONFIDENCES);
#undef SCRN_CONFIDENCES
  }
}

SCRN_INLINE void fill(uint8_t* out, int32_t label, int64_t count) {
  memset(out, label, static_cast<size_t>(count));
}
SCRN_INLINE void fill(int64_t* out, int32_t label, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = label;
}

// Every cell's pixels get the class of its first corner, which is right where all corners agree.
template <typename L, typename A>
void fill_cells(const ArgmaxState<A>& s, int32_t y0, int32_t y1) {
  const int32_t* label = s.label[s.top];
  L* const out = static_cast<L*>(s.plan->params.labels);
  L* const row = out + s.pixel(y0, 0);
  const int32_t x0 = s.first(0), x1 = s.first(s.part.cells);
  for (int32_t p = 0; p < s.part.cells;) {
    int32_t end = p + 1;
    while (end < s.part.cells && label[end] == label[p]) ++end;
    fill(row + s.first(p), label[p], s.first(end) - s.first(p));
    p = end;
  }
  for (int32_t y = y0 + 1; y < y1; ++y) {
    memcpy(out + s.pixel(y, x0), row + x0, sizeof(L) * static_cast<size_t>(x1 - x0));
  }
}

template <typename L, typename A>
void argmax_task(const ArgmaxPlan& plan, int64_t task) {
  const ResizeShape& shape = plan.params.shape;
  ArgmaxState<A> s;
  s.plan = &plan;
  // Of cells, where the loss has tasks of nodes.
  ResizeShape cells = shape;
  cells.in_h += 1;
  cells.in_w += 1;
  s.part = part_of<A>(cells, plan.tiling, task);
  s.part.column1 -= 1;
  s.part.cells -= 1;
  s.part.stride = row_stride<A>(s.part.cells);
  void* const memory = thread_scratch(lay_out<A>(plan, s.part.cells, nullptr, s));
  lay_out<A>(plan, s.part.cells, memory, s);
  const int32_t last = shape.in_h - 1;
  int32_t loaded = -1;
  for (int32_t cell = s.part.row0 - 1; cell < s.part.row1 - 1; ++cell) {
    const int32_t above = cell < 0 ? 0 : cell, below = cell < last ? cell + 1 : last;
    for (int32_t row = loaded < above ? above : loaded + 1; row <= below; ++row) {
      begin_row(s, row);
      loaded = row;
    }
    s.top = above & 1;
    s.bottom = below & 1;
    const int32_t y0 = plan.y.first[cell + 1], y1 = plan.y.first[cell + 2];
    if (y0 == y1) continue;
    fill_cells<L>(s, y0, y1);
    const int32_t *top = s.label[s.top], *bottom = s.label[s.bottom];
    for (int32_t p = 0; p < s.part.cells; p += kLanes<A>) {
      uint32_t present = 0, undecided = 0;
      for (int i = 0; i < kLanes<A>; ++i) {
        const int32_t label = top[p + i];
        const bool differs =
            (label != top[p + i + 1]) | (label != bottom[p + i]) | (label != bottom[p + i + 1]);
        undecided |= static_cast<uint32_t>(differs) << i;
        present |= static_cast<uint32_t>(p + i < s.part.cells) << i;
      }
      undecided &= present;
      if (undecided != 0) undecided_tile<L>(s, y0, y1, p, undecided);
      if (plan.params.confidence != nullptr) confidence_tile<L>(s, y0, y1, p, present);
    }
  }
}

#undef SCRN_FOR_SLOTS

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
