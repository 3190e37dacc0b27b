#pragma once

// The pixels of whole_ratio.h's tiles, where they lie, and what they have of their labels.

#include "pixels.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

// Where the S pixels between two nodes lie: for even S at odd multiples of 1 / 2S, for odd S at
// multiples of 1 / S. The base of the powers is the exponential of the node's 1 / kParts.
template <int S>
struct Pixels {
  static constexpr bool kEven = S % 2 == 0;
  // The error of the base grows with the power: eight pixels are taken as four and four.
  static constexpr int kParts = S == 8 ? 8 : kEven ? 2 * S : S;
  static constexpr float share(int t) {
    return kEven ? static_cast<float>(2 * t + 1) / (2 * S) : static_cast<float>(t) / S;
  }
};

// What a strip's tiles of R rows of pixels share.
template <int S>
struct WholeRows {
  int32_t y = 0, rows = 0;
  // Weights of the rows of nodes, plain and for the base's exponent.
  float above[kTileRows], below[kTileRows], above_scaled[kTileRows], below_scaled[kTileRows];
  float sum_above = 0, sum_below = 0;

  WholeRows(const LossState<float>& s, int32_t y0, int32_t y1) : y(y0), rows(y1 - y0) {
    for (int r = 0; r < rows; ++r) {
      below[r] = static_cast<const float*>(s.plan->y.share)[y0 + r];
      above[r] = 1 - below[r];
      constexpr float kScale = static_cast<float>(kLog2e / Pixels<S>::kParts);
      above_scaled[r] = above[r] * kScale;
      below_scaled[r] = below[r] * kScale;
      sum_above += above[r];
      sum_below += below[r];
    }
  }
};

// What pixels weigh at the corners of their cells, summed, and how many they are; by lane.
struct Shares {
  Corners<Value<float>> weights;
  Index<float> pixels;
};

// Of the pixels of a tile for whose labels `chosen` is all ones.
template <int S, typename Chosen>
SCRN_INLINE Shares shares_of(const WholeRows<S>& rows, const Labels<float>* labels,
                             const Chosen& chosen) {
  Value<float> top_left{}, top_right{}, bottom_left{}, bottom_right{};
  Index<float> pixels{};
  for (int r = 0; r < rows.rows; ++r) {
    Value<float> right{};
    Index<float> count{};
    for (int t = 0; t < S; ++t) {
      const Index<float> same = chosen(load_index(labels[r * S + t], 0.0f));
      right += same ? broadcast(Pixels<S>::share(t)) : Value<float>{};
      count -= same;
    }
    const Value<float> left = to_value<float>(count) - right;
    const Value<float> above = broadcast(rows.above[r]), below = broadcast(rows.below[r]);
    top_left = fma(left, above, top_left);
    top_right = fma(right, above, top_right);
    bottom_left = fma(left, below, bottom_left);
    bottom_right = fma(right, below, bottom_right);
    pixels += count;
  }
  return {{top_left, top_right, bottom_left, bottom_right}, pixels};
}

// Of all pixels of cells between two nodes.
template <int S>
SCRN_INLINE Shares whole_shares(const WholeRows<S>& rows) {
  float right = 0;
  for (int t = 0; t < S; ++t) right += Pixels<S>::share(t);
  const Value<float> above = broadcast(rows.sum_above), below = broadcast(rows.sum_below);
  const float left = S - right;
  return {{above * left, above * right, below * left, below * right},
          broadcast_index<float>(rows.rows * S)};
}

// The sum by lane of what the corners' values have at the pixels; `factor` times the pixels'
// weights is added to the corners' gradients. `nodes` and `gradients` are by parity.
SCRN_INLINE Value<float> add_shares(const LossState<float>& s, float* const* nodes,
                                    float* const* gradients, int64_t at,
                                    const Corners<Value<float>>& w, Value<float> factor) {
  const float *top = nodes[s.top] + at, *bottom = nodes[s.bottom] + at;
  if (gradients[0] != nullptr) {
    // One after the other: the two rows may be one.
    add_ends(gradients[s.top] + at, w.top_left * factor, w.top_right * factor);
    add_ends(gradients[s.bottom] + at, w.bottom_left * factor, w.bottom_right * factor);
  }
  return or_infinite(fma(load(top + 1), w.top_right, load(top) * w.top_left) +
                     fma(load(bottom + 1), w.bottom_right, load(bottom) * w.bottom_left));
}

// What is linear in the logits, pixel by pixel, of the labels up to the one that each cell has in
// `most`.
template <int S>
void add_pixels(LossState<float>& s, const WholeRows<S>& rows, int32_t p,
                const Labels<float>* labels, Index<float> most) {
  const float* const weight = static_cast<const float*>(s.plan->weight);
  double linear = 0, weights = 0;
  for (int q = 0; q < rows.rows * S; ++q) {
    const Index<float> each = load_index(labels[q], 0.0f);
    const float right = Pixels<S>::share(q % S);
    const auto w = pair_weights(1 - right, right, rows.above[q / S], rows.below[q / S]);
    uint32_t lanes = lanes_of((each >= 0) & (each <= most));
    for (; lanes != 0; lanes &= lanes - 1) {
      const int i = __builtin_ctz(lanes);
      const int32_t label = labels[q][i];
      const double own = add_own(s, p + i, label, w, s.hard()[label]);
      if (!counted(s, p, i)) continue;
      linear += own;
      weights += weight == nullptr ? 1.0 : double{weight[label]};
    }
  }
  s.result.loss -= linear;
  s.result.weight += weights;
}

// What is linear in the logits. Pixels of a cell's first two labels are taken together; few cells
// have more.
template <int S>
void add_labels(LossState<float>& s, const WholeRows<S>& rows, int32_t p,
                const Labels<float>* labels) {
  const int pixels = rows.rows * S;
  const auto label_of = [&](int q) { return load_index(labels[q], 0.0f); };
  Index<float> label = label_of(0), least = label;
  for (int q = 1; q < pixels; ++q) {
    label = label_of(q) > label ? label_of(q) : label;
    least = label_of(q) < least ? label_of(q) : least;
  }
  if (!any(label >= 0)) return;
  const Index<float> counts = counted(s, p);
  const float* const weight = static_cast<const float*>(s.plan->weight);
  Index<float> found{};
  Value<float> linear{};  // by lane: of 64 pixels at most
  const auto take = [&](int32_t own, Index<float> cells, const Shares& shares) {
    const float hard = s.hard()[own];
    const Value<float> factor = cells != 0 ? broadcast(-hard) : Value<float>{};
    const Value<float> line =
        add_shares(s, s.nodes, s.gradient, own * s.stride() + p, shares.weights, factor);
    const Index<float> counting = cells & counts;
    if (hard != 0) linear += counting != 0 ? line * hard : Value<float>{};
    if (weight == nullptr) {
      found += shares.pixels & counting;
    } else {
      s.result.weight += sum_of(shares.pixels & counting) * double{weight[own]};
    }
  };
  const Index<float> first = broadcast_index<float>(label[0]);
  if (label[0] >= 0 && !any(((label ^ first) | (least ^ first)) != 0)) {
    take(label[0], ~Index<float>{}, whole_shares(rows));
  } else {
    for (int pass = 0; pass < 2 && any(label >= 0); ++pass) {
      const Shares shares =
          shares_of(rows, labels, [&](Index<float> each) { return each == label; });
      Index<float> left = label;
      while (any(left >= 0)) {
        const int32_t own = left[__builtin_ctz(lanes_of(left >= 0))];
        const Index<float> cells = left == own;
        take(own, cells, shares);
        left |= cells;
      }
      Index<float> next = ~Index<float>{};
      for (int q = 0; q < pixels; ++q) {
        const Index<float> each = label_of(q) | (label_of(q) >= label);
        next = each > next ? each : next;
      }
      label = next;
    }
    if (any(label >= 0)) add_pixels(s, rows, p, labels, label);
  }
  if (s.uniform[0] != nullptr) {
    const Shares valid = shares_of(rows, labels, [](Index<float> each) { return each >= 0; });
    const Value<float> line = add_shares(s, s.uniform, s.cover, p, valid.weights, broadcast(1.0f));
    linear += (valid.pixels & counts) != 0 ? line : Value<float>{};
  }
  s.result.loss -= double{sum_of<float>(linear)};
  s.result.weight += sum_of(found);
}

// Labels by pixel and cell from local cell p on; -1: no pixel, or one without a class. Between
// nodes at the left and at the right of all of them they follow each other.
template <int S>
SCRN_INLINE void read_tile_labels(const LossState<float>& s, int r, int32_t p,
                                  Labels<float>* labels) {
  constexpr int L = kLanes<float>;
  if constexpr ((S & (S - 1)) == 0) {
    if (p + L <= s.part.cells && s.first(p + L) - s.first(p) == S * L) {
      const int32_t* const row = s.labels + r * s.label_pitch + (s.first(p) - s.first(0));
      Index<float> pixel[S];
      for (int t = 0; t < S; ++t) pixel[t] = load_index(row + t * L, 0.0f);
      deinterleave<S>(pixel);
      for (int t = 0; t < S; ++t) store_index(labels[t], pixel[t]);
      return;
    }
  }
  read_labels<S>(s, r, p, 0, labels);
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
