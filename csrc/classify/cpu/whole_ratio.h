#pragma once

// A tile of all pixels of a row of cells, where the width is a whole multiple S of the nodes'.
//
// Along a row the logit is linear between two nodes, so its exponential is a geometric sequence:
// one exponential of every node serves S pixels, l^a r^b with a + b constant. Everything is
// relative to the largest class of each node, which is an upper bound of what lies between; where
// classes cross so steeply that a sum underflows, the tile is computed again by any_ratio.h.

#include "any_ratio.h"
#include "prefetch.h"
#include "whole_rows.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

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

// Sums over the classes of every pixel, [rows][S]; keeps its values, [K][rows][S], where the
// gradients need no others.
template <int S, bool kKeeps>
void sum_classes(const LossState<float>& s, const WholeRows<S>& rows, const float* e,
                 const float* next, float* sums) {
  constexpr int L = kLanes<float>;
  const int64_t classes = s.plan->shape.classes;
  float* const values = s.values;
  for (int r = 0; r < rows.rows; ++r) {
    Value<float> sum[S], part[S];
    for (int t = 0; t < S; ++t) sum[t] = part[t] = Value<float>{};
    for (int64_t k = 0; k < classes; ++k) {
      const int64_t at = (k * rows.rows + r) * L;
      const Value<float> left = load(e + at);
      Value<float> pixel[S];
      between<S>(left, next_lane(left, load(next + at)), pixel);
      for (int t = 0; t < S; ++t) {
        if constexpr (kKeeps) store(values + at * S + t * L, pixel[t]);
        part[t] += pixel[t];
      }
      if (k % kBlock == kBlock - 1) flush<float, S>(part, sum);
    }
    flush<float, S>(part, sum);
    for (int t = 0; t < S; ++t) store(sums + (r * S + t) * L, sum[t]);
  }
}

template <int S, bool kKeeps>
void add_gradients(const LossState<float>& s, const WholeRows<S>& rows, int32_t p, const float* e,
                   const float* next, const float* factors) {  // [rows][S][left, right]
  constexpr int L = kLanes<float>;
  const int64_t classes = s.plan->shape.classes, stride = s.stride();
  const float* const values = s.values;
  float *top = s.gradient[s.top] + p, *bottom = s.gradient[s.bottom] + p;
  for (int64_t k = 0; k < classes; ++k, top += stride, bottom += stride) {
    Value<float> top_left{}, top_right{}, bottom_left{}, bottom_right{};
    for (int r = 0; r < rows.rows; ++r) {
      const int64_t at = (k * rows.rows + r) * L;
      Value<float> pixel[S];
      if constexpr (kKeeps) {
        for (int t = 0; t < S; ++t) pixel[t] = load(values + at * S + t * L);
      } else {
        const Value<float> base = load(e + at);
        between<S>(base, next_lane(base, load(next + at)), pixel);
      }
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

// What the sums over the classes give: the loss's part, by lane, and the factors of the pixels'
// values in the gradients, [rows][S][left, right]. False where a sum has underflown.
template <int S>
SCRN_INLINE bool use_sums(const LossState<float>& s, const WholeRows<S>& rows, const float* sums,
                          const Labels<float>* labels, float* factors, Value<float>& loss) {
  constexpr int L = kLanes<float>;
  const bool weighted = s.plan->weighted;
  // Of equal weights the sums' mantissas are multiplied, and one logarithm serves all pixels of a
  // cell.
  const Value<float> equal = broadcast(s.soft()[0]);
  Value<float> logs{}, product = broadcast(1.0f);
  Index<float> exponents{}, lost{};
  for (int r = 0; r < rows.rows; ++r) {
    for (int t = 0; t < S; ++t) {
      const int q = r * S + t;
      const Index<float> valid = valid_of<float>(labels[q]);
      const Value<float> sum = valid != 0 ? load(sums + q * L) : broadcast(1.0f);
      lost |= ~(sum >= static_cast<float>(kUnderflow));
      Value<float> soft = valid != 0 ? equal : Value<float>{};
      if (weighted) {
        soft = look_up(s.soft(), labels[q]);
        logs += soft != 0 ? soft * log_of(sum) : Value<float>{};
      } else {
        exponents += (bits_of<float>(sum) >> 23) - 127;
        product *= reinterpret_cast<Value<float>>((bits_of<float>(sum) & 0x007fffff) | 0x3f800000);
      }
      if (s.gradient[0] == nullptr) continue;
      const Value<float> factor = soft / sum, right = factor * Pixels<S>::share(t);
      store(factors + 2 * q * L, factor - right);
      store(factors + (2 * q + 1) * L, right);
    }
  }
  const Value<float> ln2 = broadcast(static_cast<float>(kLn2));
  loss = weighted ? logs : equal * fma(to_value<float>(exponents), ln2, log_of(product));
  return !any(lost);
}

// `e` holds the exponentials of the tile at p, `next` gets those of the tile behind it.
template <int S>
void whole_tile(LossState<float>& s, const WholeRows<S>& rows, int32_t p, const float* e,
                float* next) {
  constexpr int L = kLanes<float>;
  alignas(64) float sums[kTileRows * S * L], factors[2 * kTileRows * S * L];
  Labels<float> labels[kTileRows * S];
  for (int r = 0; r < rows.rows; ++r) read_tile_labels<S>(s, r, p, labels + r * S);
  ask_ahead(s, rows.y + rows.rows, rows.rows, p);
  // Where the last lane is no cell nothing needs the tile behind: in its place, of which lane 0
  // alone is used, that lane's node is read.
  const bool needs_next = p + L <= s.part.cells;
  const float* const behind = needs_next ? next : e + L - 1;
  if (needs_next) fill_exponentials(s, rows, p + L, next);
  const bool keeps = s.values != nullptr;
  (keeps ? sum_classes<S, true> : sum_classes<S, false>)(s, rows, e, behind, sums);
  Value<float> loss;
  if (!use_sums(s, rows, sums, labels, factors, loss)) {
    for (int r = 0; r < rows.rows; ++r) pixel_row(s, rows.y + r, r, p);
    return;
  }
  s.result.loss += double{sum_of<float>(counted(s, p) != 0 ? loss : Value<float>{})};
  if (s.gradient[0] != nullptr) {
    (keeps ? add_gradients<S, true> : add_gradients<S, false>)(s, rows, p, e, behind, factors);
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
