#pragma once

// What a row of pixels, or a step's rows together, add to the gradients of weights. They are summed
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

// acc[k] += the sum over r < kStep of the register grad(r) * source(r + k), each of which is loaded
// once.
template <int kTaps, typename A, typename Grad, typename Source>
SCRN_INLINE void add_products(Value<A> (&acc)[kTaps], const Grad& grad, const Source& source) {
  Value<A> g[kStep];
#pragma GCC unroll 16
  for (int r = 0; r < kStep; ++r) g[r] = load(grad(r));
#pragma GCC unroll 32
  for (int i = 0; i < kTaps + kStep - 1; ++i) {
    const Value<A> value = load(source(i));
#pragma GCC unroll 16
    for (int r = 0; r < kStep; ++r) {
      if (i - r >= 0 && i - r < kTaps) acc[i - r] = fma(g[r], value, acc[i - r]);
    }
  }
}

// Calls body(Count<n>, first) for pieces of `count` taps that fit into the registers beside kStep
// gradients; false for a length of no such pieces.
template <typename Body>
SCRN_INLINE bool for_taps(int count, const Body& body) {
  if constexpr (kHasWindow) {
    if (count == 11) {
      body(Count<11>{}, 0);
      return true;
    }
    for (int first = 0; count % 7 == 0 && first < count; first += 7) body(Count<7>{}, first);
    return count % 7 == 0;
  }
  return false;
}

// sums[k] += the sum over x of grad[x] * source[x + k]; what lies behind the last tap is read and
// thrown away.
template <typename A>
void add_row_gradient(A* sums, const A* grad, const A* source, int count, int width) {
  const bool done = for_taps(count, [&](auto size, int first) SCRN_LAMBDA_INLINE {
    constexpr int kTaps = decltype(size)::value;
    Value<A> acc[kTaps];
    fill<kTaps, A>(acc, Value<A>{});
    const A *g = grad, *from = source + first * kLanes<A>;
    int x = 0;
    for (; x + kStep <= width; x += kStep) {
      add_products<kTaps, A>(
          acc, [g](int r) SCRN_LAMBDA_INLINE { return g + r * kLanes<A>; },
          [from](int i) SCRN_LAMBDA_INLINE { return from + i * kLanes<A>; });
      g += kStep * kLanes<A>;
      from += kStep * kLanes<A>;
    }
    add_taps<kTaps, A>(acc, g, from, width - x, kLanes<A>);
    add_to<kTaps, A>(sums + first * kLanes<A>, acc, kTaps);
  });
  if (done) return;
  for_blocks(whole_blocks(count), [&](auto size, int first) SCRN_LAMBDA_INLINE {
    constexpr int kOut = decltype(size)::value;
    Value<A> acc[kOut];
    fill<kOut, A>(acc, Value<A>{});
    add_taps<kOut, A>(acc, grad, source + first * kLanes<A>, width, kLanes<A>);
    add_to<kOut, A>(sums + first * kLanes<A>, acc, count - first);
  });
}

// sums[k] += the sum over x, and over r < kStep, of grads[r][x] * sources[r + k][x]; false, and
// nothing, where add_column_gradient has to do it row by row.
template <typename A>
bool add_column_gradients(A* sums, const A* const* grads, const A* const* sources, int count,
                          int width) {
  return for_taps(count, [&](auto size, int first) SCRN_LAMBDA_INLINE {
    constexpr int kTaps = decltype(size)::value;
    Value<A> acc[kTaps];
    fill<kTaps, A>(acc, Value<A>{});
    for (int x = 0; x < width; ++x) {
      const int64_t at = x * kLanes<A>;
      add_products<kTaps, A>(
          acc, [=](int r) SCRN_LAMBDA_INLINE { return grads[r] + at; },
          [=](int i) SCRN_LAMBDA_INLINE { return sources[first + i] + at; });
    }
    add_to<kTaps, A>(sums + first * kLanes<A>, acc, kTaps);
  });
}

// sums[k] += the sum over x of grad[x] * sources[k][x]. Even and odd columns are
// summed apart, which keeps twice as many sums under way.
template <typename A>
void add_column_gradient(A* sums, const A* grad, const A* const* sources, int count, int width) {
  constexpr int kTaps = 4;
  for (int first = 0; first < count; first += kTaps) {
    const int taps = count - first < kTaps ? count - first : kTaps;
    const A* lines[kTaps];
    for (int i = 0; i < kTaps; ++i) {
      lines[i] = sources[first + (i < taps ? i : taps - 1)];
    }
    Value<A> acc[kTaps] = {}, odd[kTaps] = {};
    int x = 0;
    for (; x + 2 <= width; x += 2) {
      const Value<A> even_grad = load(grad + x * kLanes<A>);
      const Value<A> odd_grad = load(grad + (x + 1) * kLanes<A>);
      for (int i = 0; i < kTaps; ++i) {
        acc[i] = fma(even_grad, load(lines[i] + x * kLanes<A>), acc[i]);
        odd[i] = fma(odd_grad, load(lines[i] + (x + 1) * kLanes<A>), odd[i]);
      }
    }
    for (int i = 0; i < kTaps; ++i) {
      if (x < width) {
        acc[i] = fma(load(grad + x * kLanes<A>), load(lines[i] + x * kLanes<A>), acc[i]);
      }
      acc[i] += odd[i];
    }
    add_to<kTaps, A>(sums + first * kLanes<A>, acc, taps);
  }
}

// Of rows `line` and `next` of a square convolution together: on their own, a row's few taps do
// not keep the multipliers busy.
template <int kEdge, typename A>
SCRN_INLINE void add_two_lines(A* sums, A* next_sums, const A* grad, const A* line, const A* next,
                               int64_t between, int width) {
  Value<A> acc[kEdge] = {}, next_acc[kEdge] = {};
  for (int x = 0; x < width; ++x) {
    line = pinned(line);
    next = pinned(next);
    const Value<A> g = load(grad);
#pragma GCC unroll 8
    for (int i = 0; i < kEdge; ++i) {
      acc[i] = fma(g, load(line + i * between), acc[i]);
      next_acc[i] = fma(g, load(next + i * between), next_acc[i]);
    }
    grad += kLanes<A>;
    line += kLanes<A>;
    next += kLanes<A>;
  }
  add_to<kEdge, A>(sums, acc, kEdge);
  add_to<kEdge, A>(next_sums, next_acc, kEdge);
}

template <int kEdge, typename A>
SCRN_INLINE void add_lines(A* sums, const A* grad, const A* const* lines, int64_t between,
                           int width) {
  constexpr int64_t kRow = kEdge * kLanes<A>;
  int i = 0;
  for (; i + 2 <= kEdge; i += 2) {
    add_two_lines<kEdge, A>(sums + i * kRow, sums + (i + 1) * kRow, grad, lines[i], lines[i + 1],
                            between, width);
  }
  Value<A> acc[kEdge];
  fill<kEdge, A>(acc, Value<A>{});
  add_taps<kEdge, A>(acc, grad, lines[i], width, kLanes<A>, between);
  add_to<kEdge, A>(sums + i * kRow, acc, kEdge);
}

// Of a square convolution of `source` whose result at row y has the gradient `grad`.
template <typename A>
void add_square_gradient(A* sums, const Ring<A>& grad, const Ring<A>& source, int64_t y, int width,
                         int edge, int dilation) {
  const int radius = edge / 2 * dilation;
  const A* lines[kMaxSquare];
  for (int i = 0; i < edge; ++i) lines[i] = source.at(y - radius + i * dilation, 0, -radius);
  const A* g = grad.at(y, 0, 0);
  const int64_t between = dilation * kLanes<A>;
  if (edge == 3) return add_lines<3, A>(sums, g, lines, between, width);
  if (edge == 5) return add_lines<5, A>(sums, g, lines, between, width);
  add_lines<7, A>(sums, g, lines, between, width);
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
