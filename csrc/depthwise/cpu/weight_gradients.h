#pragma once

// What a row of pixels, or several rows together, add to the gradients of weights. They are summed
// on their own, starting from zero, so that sums stay short.

#include "blocks.h"

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

template <int kOut, typename A>
SCRN_INLINE void add_to(A* sums, const Value<A> (&acc)[kOut], int count) {
  for (int i = 0; i < kOut && i < count; ++i) {
    A* sum = sums + i * kLanes<A>;
    store(sum, load(sum) + acc[i]);
  }
}

// sums[0] += the sum of a row.
template <typename A>
void add_sum(A* sums, const A* row, int width) {
  Value<A> acc[4] = {};
  int x = 0;
  for (; x + 4 <= width; x += 4) {
    for (int i = 0; i < 4; ++i) acc[i] += load(row + (x + i) * kLanes<A>);
  }
  for (; x < width; ++x) acc[0] += load(row + x * kLanes<A>);
  store(sums, load(sums) + ((acc[0] + acc[1]) + (acc[2] + acc[3])));
}

// Gradients that are held in registers beside the sums of several taps.
constexpr int kHeld = kHasWindow ? kStep : 4;
constexpr int kRegisters = kHasWindow ? 32 : 16;

// acc[k] += the sum over r < kCount of the register grad(r) * source(r + k), each of which is
// loaded once.
template <int kTaps, int kCount, typename A, typename Grad, typename Source>
SCRN_INLINE void add_products(Value<A> (&acc)[kTaps], const Grad& grad, const Source& source) {
  Value<A> g[kCount];
#pragma GCC unroll 16
  for (int r = 0; r < kCount; ++r) g[r] = load(grad(r));
#pragma GCC unroll 32
  for (int i = 0; i < kTaps + kCount - 1; ++i) {
    const Value<A> value = load(source(i));
#pragma GCC unroll 16
    for (int r = 0; r < kCount; ++r) {
      if (i - r >= 0 && i - r < kTaps) acc[i - r] = fma(g[r], value, acc[i - r]);
    }
  }
}

// Taps of a strip are summed in pieces of 11 or 7, of which the last may reach beyond them.
constexpr int whole_taps(int count) { return count == 11 ? 11 : (count + 6) / 7 * 7; }

// Calls body(Count<n>, first) for these pieces.
template <typename Body>
SCRN_INLINE void for_taps(int count, const Body& body) {
  if (count == 11) return body(Count<11>{}, 0);
  for (int first = 0; first < count; first += 7) body(Count<7>{}, first);
}

// sums[l][k] += the sum over x of grad[x] * lines[l][x + k * dilation], for `count` of kTaps, at
// kTogether columns x at a time. Where one line's few taps do not keep the multipliers busy, two
// have to go together.
template <int kLines, int kTaps, int kTogether, typename A>
SCRN_INLINE void add_lines(A* sums, int count, const A* grad, const A* const* lines, int dilation,
                           int width) {
  Value<A> acc[kLines][kTaps];
  for (int l = 0; l < kLines; ++l) fill<kTaps, A>(acc[l], Value<A>{});
  const int64_t between = dilation * kLanes<A>;
  int x = 0;
  const auto add = [&](auto together) SCRN_LAMBDA_INLINE {
    constexpr int kCount = decltype(together)::value;
    const A* g = pinned(grad + x * kLanes<A>);
#pragma GCC unroll 2
    for (int l = 0; l < kLines; ++l) {
      const A* from = pinned(lines[l] + x * kLanes<A>);
      add_products<kTaps, kCount, A>(
          acc[l], [g, between](int r) SCRN_LAMBDA_INLINE { return g + r * between; },
          [from, between](int i) SCRN_LAMBDA_INLINE { return from + i * between; });
    }
    x += kCount * dilation;
  };
  // Columns that are `dilation` apart look at the same columns of the source.
  for (int first = 0; first < dilation; ++first) {
    x = first;
    while (x + (kTogether - 1) * dilation < width) add(Count<kTogether>{});
    while (x < width) add(Count<1>{});
  }
  for (int l = 0; l < kLines; ++l) add_to<kTaps, A>(sums + l * kTaps * kLanes<A>, acc[l], count);
}

// sums[k] += the sum over x of grad[x] * source[x + k].
template <typename A>
void add_row_gradient(A* sums, const A* grad, const A* source, int count, int width) {
  for_taps(count, [&](auto size, int first) SCRN_LAMBDA_INLINE {
    constexpr int kTaps = decltype(size)::value;
    const A* from = source + first * kLanes<A>;
    add_lines<1, kTaps, kHeld, A>(sums + first * kLanes<A>, count - first, grad, &from, 1, width);
  });
}

// sums[k] += the sum over x, and over r < kRows, of grads[r][x] * sources[r + k][x]. There are
// sources for whole_taps(count).
template <int kRows, typename A>
void add_column_gradient(A* sums, const A* const* grads, const A* const* sources, int count,
                         int width) {
  for_taps(count, [&](auto size, int first) SCRN_LAMBDA_INLINE {
    constexpr int kTaps = decltype(size)::value;
    Value<A> acc[kTaps];
    fill<kTaps, A>(acc, Value<A>{});
    for (int x = 0; x < width; ++x) {
      const int64_t at = x * kLanes<A>;
      add_products<kTaps, kRows, A>(
          acc, [=](int r) SCRN_LAMBDA_INLINE { return grads[r] + at; },
          [=](int i) SCRN_LAMBDA_INLINE { return sources[first + i] + at; });
    }
    add_to<kTaps, A>(sums + first * kLanes<A>, acc, count - first);
  });
}

// The rows of a square convolution, as many together as there are registers for.
template <int kEdge, typename A>
SCRN_INLINE void add_square(A* sums, const A* grad, const A* const* lines, int dilation,
                            int width) {
  constexpr int kLines = 2 * kEdge + kHeld < kRegisters ? 2 : 1;
  int i = 0;
  for (; i + kLines <= kEdge; i += kLines) {
    add_lines<kLines, kEdge, kHeld, A>(sums + i * kEdge * kLanes<A>, kEdge, grad, lines + i,
                                       dilation, width);
  }
  if (i == kEdge) return;
  add_lines<1, kEdge, kHeld, A>(sums + i * kEdge * kLanes<A>, kEdge, grad, lines + i, dilation,
                                width);
}

// Of a square convolution of `source` whose result at row y has the gradient `grad`.
template <typename A>
void add_square_gradient(A* sums, const Ring<A>& grad, const Ring<A>& source, int64_t y, int width,
                         int edge, int dilation) {
  const int radius = edge / 2 * dilation;
  const A* lines[kMaxSquare];
  for (int i = 0; i < edge; ++i) lines[i] = source.at(y - radius + i * dilation, 0, -radius);
  const A* g = grad.at(y, 0, 0);
  if (edge == 3) return add_square<3, A>(sums, g, lines, dilation, width);
  if (edge == 5) return add_square<5, A>(sums, g, lines, dilation, width);
  add_square<7, A>(sums, g, lines, dilation, width);
}

SCRN_INLINE void write_gradient(DType type, double value, void* gradients, int64_t index) {
  switch (type) {
    case DType::kFloat:
      return narrow(value, static_cast<float*>(gradients)[index]);
    case DType::kDouble:
      return narrow(value, static_cast<double*>(gradients)[index]);
    case DType::kHalf:
      return narrow(value, static_cast<Half*>(gradients)[index]);
    case DType::kBFloat16:
      return narrow(value, static_cast<BFloat16*>(gradients)[index]);
  }
}

// The sum over the tiles of all images, in their order.
template <typename A>
void reduce_tasks(const BackwardPlan& plan, int64_t begin, int64_t end) {
  const UnitShape& s = plan.params.shape;
  const int64_t taps = taps_of(s), piece = taps * kLanes<A>;
  const int64_t stride = plan.padded_channels / kLanes<A> * piece;
  for (int64_t group = begin; group < end; ++group) {
    double* total = static_cast<double*>(thread_scratch(sizeof(double) * piece));
    for (int64_t i = 0; i < piece; ++i) total[i] = 0;
    for (int64_t tile = 0; tile < s.batch * plan.tiles; ++tile) {
      const double* partial = plan.partial + tile * stride + group * piece;
      for (int64_t i = 0; i < piece; ++i) total[i] += partial[i];
    }
    for (int64_t lane = 0; lane < kLanes<A>; ++lane) {
      const int64_t c = group * kLanes<A> + lane;
      if (c >= s.channels) break;
      for (int64_t k = 0; k < taps; ++k) {
        write_gradient(s.weight_dtype, total[k * kLanes<A> + lane], plan.params.grad_weights,
                       c * taps + k);
      }
    }
  }
}

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
