#pragma once

// A tile of all pixels of a row of cells, where the width is a whole multiple S of the nodes'.
//
// Along a row the logit is linear between two nodes, so its exponential is a geometric sequence:
// one exponential of every node serves S pixels, l^a r^b with a + b constant. Everything is
// relative to the largest class of each node, which is an upper bound of what lies between; where
// classes cross so steeply that a sum underflows, the tile is computed again by any_ratio.h.

#include "any_ratio.h"

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

SCRN_INLINE Value<float> square_root(Value<float> x) {
#if defined(__AVX512F__)
  return Value<float>(_mm512_maskz_sqrt_ps(0xffff, __m512(x)));
#elif defined(__AVX2__)
  return Value<float>(_mm256_sqrt_ps(__m256(x)));
#else
  for (int i = 0; i < kLanes<float>; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// The values of the S pixels between two nodes. No product waits for more than two others; eight
// pixels' wait for a root as well.
template <int S>
SCRN_INLINE void between(Value<float> left, Value<float> right, Value<float>* pixel) {
  static_assert(S == 2 || S == 3 || S == 4 || S == 8, "the ratios of whole_rows_as");
  const Value<float> l2 = left * left, r2 = right * right, both = left * right;
  if constexpr (S == 2) {
    pixel[0] = both * l2;
    pixel[1] = both * r2;
  } else if constexpr (S == 3) {
    pixel[0] = l2 * left;
    pixel[1] = l2 * right;
    pixel[2] = left * r2;
  } else if constexpr (S == 4) {
    const Value<float> l3r = both * l2, lr3 = both * r2, l4 = l2 * l2, r4 = r2 * r2;
    pixel[0] = l3r * l4;
    pixel[1] = lr3 * l4;
    pixel[2] = l3r * r4;
    pixel[3] = lr3 * r4;
  } else {
    const Value<float> middle = square_root(both);
    between<4>(left, middle, pixel);
    between<4>(middle, right, pixel + 4);
  }
}

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

// The exponentials of the nodes from local column p on: [K][rows]. In a loop of its own: with the
// sums in it an iteration's chain of dependent operations would be longer than a processor sees.
template <int S>
void fill_exponentials(const LossState<float>& s, const WholeRows<S>& rows, int32_t p, float* e) {
  constexpr int L = kLanes<float>;
  const float *top = s.nodes[s.top] + p, *bottom = s.nodes[s.bottom] + p;
  for (int64_t k = 0; k < s.plan->shape.classes; ++k, top += s.stride(), bottom += s.stride()) {
    const Value<float> above = load(top), below = load(bottom);
    for (int r = 0; r < rows.rows; ++r, e += L) {
      store(e, exp2_of(fma(below, broadcast(rows.below_scaled[r]),
                           above * broadcast(rows.above_scaled[r]))));
    }
  }
}

// Sums over the classes of every pixel, [rows][S].
template <int S>
void sum_classes(const LossState<float>& s, const WholeRows<S>& rows, const float* e,
                 const float* next, float* sums) {
  constexpr int L = kLanes<float>;
  const int64_t classes = s.plan->shape.classes;
  for (int r = 0; r < rows.rows; ++r) {
    Value<float> sum[S], part[S];
    for (int t = 0; t < S; ++t) sum[t] = part[t] = Value<float>{};
    for (int64_t k = 0; k < classes; ++k) {
      const int64_t at = (k * rows.rows + r) * L;
      const Value<float> left = load(e + at);
      Value<float> pixel[S];
      between<S>(left, next_lane(left, load(next + at)), pixel);
      for (int t = 0; t < S; ++t) part[t] += pixel[t];
      if (k % kBlock == kBlock - 1) flush<float, S>(part, sum);
    }
    flush<float, S>(part, sum);
    for (int t = 0; t < S; ++t) store(sums + (r * S + t) * L, sum[t]);
  }
}

template <int S>
void add_gradients(const LossState<float>& s, const WholeRows<S>& rows, int32_t p, const float* e,
                   const float* next, const float* factors) {  // [rows][S][left, right]
  constexpr int L = kLanes<float>;
  const int64_t classes = s.plan->shape.classes, stride = s.stride();
  float *top = s.gradient[s.top] + p, *bottom = s.gradient[s.bottom] + p;
  for (int64_t k = 0; k < classes; ++k, top += stride, bottom += stride) {
    Value<float> top_left{}, top_right{}, bottom_left{}, bottom_right{};
    for (int r = 0; r < rows.rows; ++r) {
      const int64_t at = (k * rows.rows + r) * L;
      const Value<float> base = load(e + at);
      Value<float> pixel[S];
      between<S>(base, next_lane(base, load(next + at)), pixel);
      Value<float> left{}, right{};
      for (int t = 0; t < S; ++t) {
        const float* const factor = factors + 2 * (r * S + t) * L;
        left = fma(pixel[t], load(factor), left);
        right = fma(pixel[t], load(factor + L), right);
      }
      const Value<float> above = broadcast(rows.above[r]), below = broadcast(rows.below[r]);
      top_left = fma(left, above, top_left);
      top_right = fma(right, above, top_right);
      bottom_left = fma(left, below, bottom_left);
      bottom_right = fma(right, below, bottom_right);
    }
    // One after the other: the two rows may be one.
    add_ends(top, top_left, top_right);
    add_ends(bottom, bottom_left, bottom_right);
  }
}

// The sum over the pixels of soft * log(sum), by lane. Of equal factors the mantissas are
// multiplied, and one logarithm serves all pixels of a cell.
SCRN_INLINE Value<float> log_sums(const float* sums, const float* soft, int pixels, bool weighted) {
  constexpr int L = kLanes<float>;
  if (weighted) {
    Value<float> total{};
    for (int q = 0; q < pixels; ++q) {
      const Value<float> factor = load(soft + q * L);
      total += factor != 0 ? factor * log_of(load(sums + q * L)) : Value<float>{};
    }
    return total;
  }
  Value<float> product = broadcast(1.0f);
  Index<float> exponents{};
  for (int q = 0; q < pixels; ++q) {
    const Index<float> bits =
        load(soft + q * L) != 0 ? bits_of<float>(load(sums + q * L)) : Index<float>{} + 0x3f800000;
    exponents += (bits >> 23) - 127;
    product *= reinterpret_cast<Value<float>>((bits & 0x007fffff) | 0x3f800000);
  }
  return fma(to_value<float>(exponents), broadcast(static_cast<float>(kLn2)), log_of(product));
}

// The labels' part of neighbouring cells that all have one label: `w` are a cell's weights.
SCRN_INLINE void add_one_label(LossState<float>& s, int32_t p, int32_t label,
                               const PairWeights<float>& w, int pixels) {
  const int64_t at = label * s.stride() + p;
  const float hard = s.hard()[label];
  const float *top = s.nodes[s.top] + at, *bottom = s.nodes[s.bottom] + at;
  const auto line = [](const float* nodes, Pair<float> weights) {
    return fma(load(nodes + 1), broadcast(weights[1]), load(nodes) * broadcast(weights[0]));
  };
  const Index<float> counts = counted(s, p);
  const Value<float> linear = line(top, w.top) + line(bottom, w.bottom);
  const float sum = sum_of<float>(counts != 0 ? linear : Value<float>{});
  s.result.loss += loss_of<float>(double{hard * sum});
  const float* const weight = static_cast<const float*>(s.plan->weight);
  const double each = pixels * (weight == nullptr ? 1.0 : double{weight[label]});
  for (int i = 0; i < kLanes<float>; ++i) s.result.weight -= counts[i] * each;
  if (s.gradient[0] == nullptr) return;
  const auto take = [&](float* gradient, Pair<float> weights) {
    add_ends(gradient + at, broadcast(-hard * weights[0]), broadcast(-hard * weights[1]));
  };
  take(s.gradient[s.top], w.top);
  take(s.gradient[s.bottom], w.bottom);
}

// By lane: a label, -1 for none, how many pixels have it, and their weights, summed.
struct LabelSums {
  alignas(64) Labels<float> label, pixels;
  alignas(64) float top_left[kLanes<float>], top_right[kLanes<float>];
  alignas(64) float bottom_left[kLanes<float>], bottom_right[kLanes<float>];
};

// Takes the first label that a lane has left, and makes it -1 in `labels`; false where none has
// any.
template <int S>
SCRN_INLINE bool take_label(const WholeRows<S>& rows, Labels<float>* labels, LabelSums& sums) {
  Index<float> label = ~Index<float>{}, count{};
  for (int q = rows.rows * S - 1; q >= 0; --q) {
    const Index<float> each = load_index(labels[q], 0.0f);
    label = each >= 0 ? each : label;
  }
  if (!any(label >= 0)) return false;
  Value<float> top_left{}, top_right{}, bottom_left{}, bottom_right{};
  for (int r = 0; r < rows.rows; ++r) {
    Value<float> on_left{}, on_right{};
    for (int t = 0; t < S; ++t) {
      const Index<float> each = load_index(labels[r * S + t], 0.0f);
      const Index<float> same = each == label;
      on_left += same ? broadcast(1 - Pixels<S>::share(t)) : Value<float>{};
      on_right += same ? broadcast(Pixels<S>::share(t)) : Value<float>{};
      count -= same;
      store_index(labels[r * S + t], each | same);
    }
    const Value<float> above = broadcast(rows.above[r]), below = broadcast(rows.below[r]);
    top_left = fma(on_left, above, top_left);
    top_right = fma(on_right, above, top_right);
    bottom_left = fma(on_left, below, bottom_left);
    bottom_right = fma(on_right, below, bottom_right);
  }
  store_index(sums.label, label);
  store_index(sums.pixels, count);
  store(sums.top_left, top_left);
  store(sums.top_right, top_right);
  store(sums.bottom_left, bottom_left);
  store(sums.bottom_right, bottom_right);
  return true;
}

// What is linear in the logits. Pixels of a cell's first two labels are taken together; few cells
// have more. `labels` is overwritten.
template <int S>
void add_labels(LossState<float>& s, const WholeRows<S>& rows, int32_t p, Labels<float>* labels) {
  const bool smooths = s.uniform[0] != nullptr;
  const int pixels = rows.rows * S;
  const int32_t label = labels[0][0];
  Index<float> others{};
  for (int q = 0; q < pixels; ++q) {
    others |= load_index(labels[q], 0.0f) ^ broadcast_index<float>(label);
  }
  if (!smooths && label >= 0 && !any(others != 0)) {
    float right = 0;
    for (int t = 0; t < S; ++t) right += Pixels<S>::share(t);
    const auto whole = pair_weights(S - right, right, rows.sum_above, rows.sum_below);
    return add_one_label(s, p, label, whole, pixels);
  }
  const float* const weight = static_cast<const float*>(s.plan->weight);
  Pair<double> linear{};  // of up to a thousand pixels: in float32 it would lose digits
  double weight_sum = 0, loss = 0;
  const auto take = [&](int i, int32_t own, const PairWeights<float>& w, int count) {
    const bool counts = counted(s, p, i);
    Pair<float> sum{};
    if (smooths) {
      loss += add_label(s, p + i, own, w.corners(), 1.0f, counts);
    } else {
      sum = add_pairs(s, p + i, own, w, s.hard()[own]);
    }
    if (!counts) return;
    linear += __builtin_convertvector(sum, Pair<double>);
    weight_sum += count * (weight == nullptr ? 1.0 : double{weight[own]});
  };
  LabelSums sums;
  for (int pass = 0; pass < 2; ++pass) {
    if (!take_label(rows, labels, sums)) break;
    for (int i = 0; i < kLanes<float>; ++i) {
      if (sums.label[i] < 0) continue;
      const PairWeights<float> w = {Pair<float>{sums.top_left[i], sums.top_right[i]},
                                    Pair<float>{sums.bottom_left[i], sums.bottom_right[i]}};
      take(i, sums.label[i], w, sums.pixels[i]);
    }
  }
  for (int q = 0; q < pixels; ++q) {
    if (!any(load_index(labels[q], 0.0f) >= 0)) continue;
    const float right = Pixels<S>::share(q % S);
    const auto w = pair_weights(1 - right, right, rows.above[q / S], rows.below[q / S]);
    for (int i = 0; i < kLanes<float>; ++i) {
      if (labels[q][i] >= 0) take(i, labels[q][i], w, 1);
    }
  }
  s.result.loss += loss + loss_of<float>(linear[0] + linear[1]);
  s.result.weight += weight_sum;
}

// `e` holds the exponentials of the tile at p, `next` gets those of the tile behind it.
template <int S>
void whole_tile(LossState<float>& s, const WholeRows<S>& rows, int32_t p, const float* e,
                float* next) {
  constexpr int L = kLanes<float>;
  const int pixels = rows.rows * S;
  alignas(64) float sums[kTileRows * S * L], factors[2 * kTileRows * S * L];
  Labels<float> labels[kTileRows * S];
  for (int r = 0; r < rows.rows; ++r) {
    read_labels<S>(s, r, p, 0, labels + r * S);
  }
  fill_exponentials(s, rows, p + L, next);
  sum_classes(s, rows, e, next, sums);
  Index<float> lost{};
  for (int q = 0; q < pixels; ++q) {
    const Value<float> sum = load(sums + q * L);
    const Index<float> valid = valid_of<float>(labels[q]);
    const Value<float> soft = s.plan->weighted
                                  ? look_up(s.soft(), labels[q])
                                  : (valid != 0 ? broadcast(s.soft()[0]) : Value<float>{});
    store(factors + q * L, soft);
    lost |= ~(sum >= static_cast<float>(kUnderflow)) & valid;
  }
  if (any(lost)) {
    for (int r = 0; r < rows.rows; ++r) pixel_row(s, rows.y + r, r, p);
    return;
  }
  const Value<float> logs = log_sums(sums, factors, pixels, s.plan->weighted);
  const float factor = s.plan->weighted ? 1.0f : s.soft()[0];
  s.result.loss += static_cast<double>(factor) *
                   static_cast<double>(sum_of<float>(counted(s, p) != 0 ? logs : Value<float>{}));
  if (s.gradient[0] != nullptr) {
    // From behind, as each pixel's two factors take the place of two.
    for (int q = pixels - 1; q >= 0; --q) {
      const Value<float> soft = load(factors + q * L);
      const Value<float> factor = soft != 0 ? soft / load(sums + q * L) : Value<float>{};
      const Value<float> right = factor * Pixels<S>::share(q % S);
      store(factors + 2 * q * L, factor - right);
      store(factors + (2 * q + 1) * L, right);
    }
    add_gradients(s, rows, p, e, next, factors);
  }
  add_labels(s, rows, p, labels);
}

// All pixels of the rows y0 .. y1 - 1, at most kTileRows, in the row of cells at hand.
template <int S>
void whole_rows(LossState<float>& s, int32_t y0, int32_t y1) {
  const WholeRows<S> rows(s, y0, y1);
  const int64_t tile = s.plan->shape.classes * s.plan->tile_rows * kLanes<float>;
  float *e = s.exponentials, *next = e + tile;
  for (int r = 0; r < rows.rows; ++r) begin_pixels_as(s, y0 + r, r);
  fill_exponentials(s, rows, 0, e);
  for (int32_t p = 0; p < s.part.cells; p += kLanes<float>) {
    whole_tile(s, rows, p, e, next);
    float* const done = e;
    e = next;
    next = done;
  }
}

// Whether all pixels of the rows were computed.
SCRN_INLINE bool whole_rows_as(LossState<float>& s, int32_t y0, int32_t y1) {
  const int ratio = s.exponentials == nullptr ? 0 : s.plan->x.ratio;
  const int32_t rows = s.plan->tile_rows;
  for (int32_t y = y0; y < y1; y += rows) {
    const int32_t end = y1 - y < rows ? y1 : y + rows;
    if (ratio == 2) whole_rows<2>(s, y, end);
    if (ratio == 3) whole_rows<3>(s, y, end);
    if (ratio == 4) whole_rows<4>(s, y, end);
    if (ratio == 8) whole_rows<8>(s, y, end);
  }
  return ratio != 0;
}
SCRN_INLINE bool whole_rows_as(LossState<double>&, int32_t, int32_t) { return false; }

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
