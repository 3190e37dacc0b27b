#pragma once

// A tile of one row of pixels, at any ratio: lanes are cells, slots their pixels. Relative to
// every pixel's own largest class, so that nothing underflows.

#include "pixels.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

constexpr double kLog2e = 1.4426950408889634, kLn2 = 0.6931471805599453;

// Row y of the cells between two rows of nodes.
template <typename A>
struct PixelRow {
  const A *top = nullptr, *bottom = nullptr;  // nodes [K][stride] from the tile's first cell on
  int64_t stride = 0;
  A above = 0, below = 0;  // weights
};

// Interpolated values times log2(e) of N slots, [K][N]; their maximum over the classes is returned
// in `largest`.
template <typename A, int N>
SCRN_INLINE void interpolate(const PixelRow<A>& row, int64_t classes, const Value<A> (&share)[N],
                             A* z, Value<A> (&largest)[N]) {
  const Value<A> above = broadcast(row.above * static_cast<A>(kLog2e));
  const Value<A> below = broadcast(row.below * static_cast<A>(kLog2e));
  for (int n = 0; n < N; ++n) largest[n] = broadcast(static_cast<A>(-__builtin_inf()));
  const A *top = row.top, *bottom = row.bottom;
  for (int64_t k = 0; k < classes; ++k, top += row.stride, bottom += row.stride) {
    const Value<A> left = fma(load(bottom), below, load(top) * above);
    const Value<A> right = fma(load(bottom + 1), below, load(top + 1) * above);
    for (int n = 0; n < N; ++n) {
      const Value<A> value = fma(share[n], right, left * (A(1) - share[n]));
      store(z + (k * N + n) * kLanes<A>, value);
      largest[n] = larger(value, largest[n]);
    }
  }
}

// z becomes 2^(z - largest); the sums over the classes are returned.
template <typename A, int N>
SCRN_INLINE void exponentials(int64_t classes, A* z, const Value<A> (&largest)[N],
                              Value<A> (&sum)[N]) {
  for (int n = 0; n < N; ++n) sum[n] = Value<A>{};
  for (int64_t k = 0; k < classes; ++k) {
    for (int n = 0; n < N; ++n) {
      A* const p = z + (k * N + n) * kLanes<A>;
      const Value<A> e = exp2_of(load(p) - largest[n]);
      store(p, e);
      sum[n] += e;
    }
  }
}

// The gradient of the log-sum-exps times `factor`, to the four corners of every cell.
template <typename A, int N>
SCRN_INLINE void add_softmax(const PixelRow<A>& row, int64_t classes, const A* e,
                             const Value<A> (&share)[N], const Value<A> (&factor)[N], A* top,
                             A* bottom) {
  for (int64_t k = 0; k < classes; ++k, top += row.stride, bottom += row.stride) {
    Value<A> all{}, right{};
    for (int n = 0; n < N; ++n) {
      const Value<A> part = load(e + (k * N + n) * kLanes<A>) * factor[n];
      all += part;
      right = fma(part, share[n], right);
    }
    const Value<A> left = all - right;
    // One after the other: the two rows may be one, and the corners overlap.
    store(top, fma(left, broadcast(row.above), load(top)));
    store(top + 1, fma(right, broadcast(row.above), load(top + 1)));
    store(bottom, fma(left, broadcast(row.below), load(bottom)));
    store(bottom + 1, fma(right, broadcast(row.below), load(bottom + 1)));
  }
}

template <typename A, int N>
SCRN_INLINE void load_shares(const Axis& x, int32_t cell, int32_t slot, Value<A> (&share)[N]) {
  const A* table = static_cast<const A*>(x.slot_share) + slot * x.pitch + cell + 1;
  for (int n = 0; n < N; ++n) share[n] = load(table + n * x.pitch);
}

// The loss of single pixels, for the loss without a reduction.
template <typename A, int N>
void write_losses(LossState<A>& s, int32_t y, int32_t p, int32_t slot, const Labels<A>* labels,
                  const Value<A> (&share)[N], A below, const Value<A> (&log_sum)[N]) {
  A* const out = static_cast<A*>(s.plan->loss) + s.pixel(y, 0);
  for (int n = 0; n < N; ++n) {
    for (int i = 0; i < kLanes<A> && p + i < s.part.cells; ++i) {
      const int32_t x = s.first(p + i) + slot + n;
      if (x >= s.first(p + i + 1) || !counted(s, p, i)) continue;
      const int32_t label = labels[n][i];
      out[x] = 0;
      if (label < 0) continue;
      const double linear =
          add_label(s, p + i, label, corners_of<A>(share[n][i], below), A(1), true);
      const A soft = s.soft()[label];
      out[x] = static_cast<A>((soft != 0 ? static_cast<double>(soft) * log_sum[n][i] : 0) + linear);
    }
  }
}

// Loss and gradient of N slots of row y in the tile of cells from p on.
template <typename A, int N>
void pixel_tile(LossState<A>& s, int32_t y, int32_t p, int32_t slot) {
  const LossPlan& plan = *s.plan;
  const int64_t classes = plan.shape.classes;
  Labels<A> labels[N];
  read_labels_as<N>(s, y, p, slot, labels);
  const A below = static_cast<const A*>(plan.y.share)[y];
  const PixelRow<A> row = {s.nodes[s.top] + p, s.nodes[s.bottom] + p, s.stride(), 1 - below, below};
  Value<A> share[N], largest[N], sum[N], log_sum[N], soft[N], scale[N];
  load_shares<A>(plan.x, s.part.cell0() + p, slot, share);
  interpolate<A, N>(row, classes, share, s.scratch, largest);
  exponentials<A, N>(classes, s.scratch, largest, sum);
  for (int n = 0; n < N; ++n) {
    log_sum[n] = fma(largest[n], broadcast(static_cast<A>(kLn2)), log_of(sum[n]));
  }
  if (plan.loss != nullptr) {
    write_losses<A, N>(s, y, p, slot, labels, share, below, log_sum);
    return;
  }
  const Index<A> own = counted(s, p);
  for (int n = 0; n < N; ++n) {
    scale[n] = broadcast(A(1));
    if (plan.grad_loss != nullptr) {
      const A* const grad = static_cast<const A*>(plan.grad_loss) + s.pixel(y, 0);
      for (int i = 0; i < kLanes<A>; ++i) {
        if (labels[n][i] >= 0) scale[n][i] = grad[s.first(p + i) + slot + n];
      }
    }
    soft[n] = look_up(s.soft(), labels[n]) * scale[n];
    const Index<A> used = valid_of<A>(labels[n]) & (soft[n] != 0);
    s.result.loss += static_cast<double>(
        sum_of<A>((used & own) != 0 ? soft[n] * log_sum[n] : Value<A>{}));
    soft[n] = used != 0 ? soft[n] / sum[n] : Value<A>{};
  }
  if (s.gradient[0] != nullptr) {
    add_softmax<A, N>(row, classes, s.scratch, share, soft, s.gradient[s.top] + p,
                      s.gradient[s.bottom] + p);
  }
  for (int n = 0; n < N; ++n) {
    for (int i = 0; i < kLanes<A>; ++i) {
      const int32_t label = labels[n][i];
      if (label < 0) continue;
      const bool counts = counted(s, p, i);
      s.result.loss += add_label(s, p + i, label, corners_of<A>(share[n][i], below), scale[n][i],
                                 counts);
      if (counts) {
        s.result.weight +=
            plan.weight == nullptr
                ? 1.0
                : static_cast<double>(static_cast<const A*>(plan.weight)[label]);
      }
    }
  }
}

// All slots of row y.
template <typename A>
void pixel_row(LossState<A>& s, int32_t y, int32_t p) {
  int32_t slot = 0;
  const int32_t slots = s.plan->x.slots;
  for (; slot + 4 <= slots; slot += 4) pixel_tile<A, 4>(s, y, p, slot);
  if (slots - slot == 3) {
    pixel_tile<A, 3>(s, y, p, slot);
  } else if (slots - slot == 2) {
    pixel_tile<A, 2>(s, y, p, slot);
  } else if (slots - slot == 1) {
    pixel_tile<A, 1>(s, y, p, slot);
  }
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
