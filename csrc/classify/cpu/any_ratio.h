#pragma once

// A tile of one row of pixels, at any ratio: lanes are cells, slots their pixels.

#include "pixels.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

// Classes whose sum is rounded before it is added to that of the others.
constexpr int64_t kBlock = 32;

template <typename A, int N>
SCRN_INLINE void flush(Value<A>* part, Value<A>* sum) {
  for (int n = 0; n < N; ++n) {
    sum[n] += part[n];
    part[n] = Value<A>{};
  }
}

// Row y of the cells between two rows of nodes.
template <typename A>
struct PixelRow {
  const A *top = nullptr, *bottom = nullptr;  // nodes [K][stride] from the tile's first cell on
  int64_t stride = 0;
  A above = 0, below = 0;  // weights
};

// Sums below this have lost classes that count.
constexpr double kUnderflow = 1e-30;

// Calls body(k, n, value) with the interpolated values, times `scale`, of N slots, class after
// class, and after every block of classes end().
template <typename A, int N, typename Body, typename End>
SCRN_INLINE void for_interpolated(const PixelRow<A>& row, int64_t classes, double scale,
                                  const Value<A> (&share)[N], const Body& body, const End& end) {
  const Value<A> above = broadcast(row.above * static_cast<A>(scale));
  const Value<A> below = broadcast(row.below * static_cast<A>(scale));
  const A *top = row.top, *bottom = row.bottom;
  for (int64_t k = 0; k < classes;) {
    const int64_t last = k + kBlock < classes ? k + kBlock : classes;
    for (; k < last; ++k, top += row.stride, bottom += row.stride) {
      const Value<A> left = fma(load(bottom), below, load(top) * above);
      const Value<A> right = fma(load(bottom + 1), below, load(top + 1) * above);
      const Value<A> slope = right - left;
      for (int n = 0; n < N; ++n) body(k, n, fma(share[n], slope, left));
    }
    end();
  }
}

// Exponentials e [K][N] relative to the nodes' largest classes, and their sums over the classes.
template <typename A, int N>
SCRN_INLINE void exponentials(const PixelRow<A>& row, int64_t classes, const Value<A> (&share)[N],
                              A* e, Value<A> (&sum)[N]) {
  Value<A> part[N];
  for (int n = 0; n < N; ++n) sum[n] = part[n] = Value<A>{};
  const auto add = [&](int64_t k, int n, Value<A> value) {
    const Value<A> power = exp2_of(value);
    store(e + (k * N + n) * kLanes<A>, power);
    part[n] += power;
  };
  for_interpolated<A, N>(row, classes, kLog2e, share, add, [&] { flush<A, N>(part, sum); });
}

// The same relative to every pixel's own largest class, which is returned in `largest`: nothing
// underflows where classes cross steeply between nodes.
template <typename A, int N>
SCRN_INLINE void safe_exponentials(const PixelRow<A>& row, int64_t classes,
                                   const Value<A> (&share)[N], A* e, Value<A> (&sum)[N],
                                   Value<A> (&largest)[N]) {
  Value<A> part[N];
  for (int n = 0; n < N; ++n) {
    sum[n] = part[n] = Value<A>{};
    largest[n] = broadcast(static_cast<A>(-__builtin_inf()));
  }
  const auto keep = [&](int64_t k, int n, Value<A> value) {
    store(e + (k * N + n) * kLanes<A>, value);
    largest[n] = larger(value, largest[n]);
  };
  for_interpolated<A, N>(row, classes, 1, share, keep, [] {});
  for (int64_t k = 0; k < classes; ++k) {
    for (int n = 0; n < N; ++n) {
      A* const p = e + (k * N + n) * kLanes<A>;
      const Value<A> power = exp2_of((load(p) - largest[n]) * static_cast<A>(kLog2e));
      store(p, power);
      part[n] += power;
    }
    if (k % kBlock == kBlock - 1) flush<A, N>(part, sum);
  }
  flush<A, N>(part, sum);
}

// The gradient of the log-sum-exps, to the four corners of every cell. The factors are those of
// the left and the right end.
template <typename A, int N>
SCRN_INLINE void add_softmax(const PixelRow<A>& row, int64_t classes, const A* e,
                             const Value<A> (&to_left)[N], const Value<A> (&to_right)[N], A* top,
                             A* bottom) {
  for (int64_t k = 0; k < classes; ++k, top += row.stride, bottom += row.stride) {
    Value<A> left{}, right{};
    for (int n = 0; n < N; ++n) {
      const Value<A> power = load(e + (k * N + n) * kLanes<A>);
      left = fma(power, to_left[n], left);
      right = fma(power, to_right[n], right);
    }
    // One after the other: the two rows may be one.
    add_ends(top, left * row.above, right * row.above);
    add_ends(bottom, left * row.below, right * row.below);
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
      const A right = share[n][i];
      const double linear =
          add_label(s, p + i, label, pair_weights(1 - right, right, 1 - below, below), A(1));
      const A soft = s.soft()[label];
      out[x] = static_cast<A>((soft != 0 ? static_cast<double>(soft) * log_sum[n][i] : 0) - linear);
    }
  }
}

// Loss and gradient of N slots of row y in the tile of cells from p on.
template <typename A, int N>
void pixel_tile(LossState<A>& s, int32_t y, int r, int32_t p, int32_t slot) {
  const LossPlan& plan = *s.plan;
  const int64_t classes = plan.shape.classes;
  Labels<A> labels[N];
  read_labels<N>(s, r, p, slot, labels);
  const A below = static_cast<const A*>(plan.y.share)[y];
  const PixelRow<A> row = {s.nodes[s.top] + p, s.nodes[s.bottom] + p, s.stride(), 1 - below, below};
  Value<A> share[N], sum[N], log_sum[N], soft[N], scale[N];
  load_shares<A>(plan.x, s.part.cell0() + p, slot, share);
  exponentials<A, N>(row, classes, share, s.scratch, sum);
  Index<A> lost{};
  for (int n = 0; n < N; ++n) {
    lost |= ~(sum[n] >= static_cast<A>(kUnderflow)) & valid_of<A>(labels[n]);
    log_sum[n] = log_of(sum[n]);
  }
  if (any(lost)) {
    Value<A> largest[N];
    safe_exponentials<A, N>(row, classes, share, s.scratch, sum, largest);
    for (int n = 0; n < N; ++n) {
      log_sum[n] = largest[n] + log_of(sum[n]);
    }
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
    const Index<A> valid = valid_of<A>(labels[n]);
    soft[n] = plan.weighted ? look_up(s.soft(), labels[n])
                            : (valid != 0 ? broadcast(s.soft()[0]) : Value<A>{});
    soft[n] *= scale[n];
    const Index<A> used = valid & (soft[n] != 0);
    s.result.loss +=
        static_cast<double>(sum_of<A>((used & own) != 0 ? soft[n] * log_sum[n] : Value<A>{}));
    soft[n] = used != 0 ? soft[n] / sum[n] : Value<A>{};
  }
  if (s.gradient[0] != nullptr) {
    Value<A> to_left[N], to_right[N];
    for (int n = 0; n < N; ++n) {
      to_right[n] = soft[n] * share[n];
      to_left[n] = soft[n] - to_right[n];
    }
    add_softmax<A, N>(row, classes, s.scratch, to_left, to_right, s.gradient[s.top] + p,
                      s.gradient[s.bottom] + p);
  }
  const A* const weight = static_cast<const A*>(plan.weight);
  // A cell of one label needs its pixels' weights summed.
  Index<A> differs{}, present{};
  Value<A> sum_left{}, sum_right{};
  for (int n = 0; n < N; ++n) {
    const Index<A> label = load_index(labels[n], A(0)), valid = label >= 0;
    differs |= valid & (label != load_index(labels[0], A(0)));
    present -= valid;
    const Value<A> right = valid != 0 ? share[n] : Value<A>{};
    sum_right += right;
    sum_left += (valid != 0 ? broadcast(A(1)) : Value<A>{}) - right;
  }
  for (int i = 0; i < kLanes<A>; ++i) {
    if (present[i] == 0) continue;
    const bool counts = counted(s, p, i);
    const bool one = differs[i] == 0 && plan.grad_loss == nullptr;
    for (int n = 0; n < (one ? 1 : N); ++n) {
      const int32_t label = labels[n][i];
      if (label < 0) continue;
      const A left = one ? sum_left[i] : 1 - share[n][i], right = one ? sum_right[i] : share[n][i];
      const PairWeights<A> w = pair_weights(left, right, row.above, row.below);
      const double linear = add_label(s, p + i, label, w, scale[n][i]);
      if (counts) {
        s.result.loss -= linear;
        s.result.weight += (one ? static_cast<double>(present[i]) : 1.0) *
                           (weight == nullptr ? 1.0 : static_cast<double>(weight[label]));
      }
    }
  }
}

// All slots of row y, whose labels begin_pixels has put into row r.
template <typename A>
void pixel_row(LossState<A>& s, int32_t y, int r, int32_t p) {
  int32_t slot = 0;
  const int32_t slots = s.plan->x.slots;
  if (s.slots() == kSlots) {
    for (; slot + 4 <= slots; slot += 4) pixel_tile<A, 4>(s, y, r, p, slot);
    if (slots - slot == 3) {
      pixel_tile<A, 3>(s, y, r, p, slot);
      return;
    }
  }
  for (; slot + 2 <= slots; slot += 2) pixel_tile<A, 2>(s, y, r, p, slot);
  if (slot < slots) pixel_tile<A, 1>(s, y, r, p, slot);
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
