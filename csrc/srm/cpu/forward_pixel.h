#pragma once

// One output pixel of Eq. 4 over contiguous channels.

#include "chunk_taps.h"
#include "patterns.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

// Where the taps of a pixel lie: the first one, and the distances between rows and columns.
template <typename S>
struct Window {
  const S* base;
  ptrdiff_t row, column;
};

// kVecs registers of channels from c on; their sums are independent of each other, which hides
// the latency of the multiply-adds.
template <int kRows, int kColumns, int kVecs, bool kSkip, typename S, typename A, typename O>
SCRN_INLINE void sample_channels(Window<S> g, int64_t c, const Value<A>* w, const S* skip,
                                 O* output, bool streams) {
  Value<A> sum[kVecs] = {};
  if constexpr (kSkip) {
    for (int v = 0; v < kVecs; ++v) sum[v] = load(skip + c + v * kLanes<A>);
  }
  for (int r = 0; r < kRows; ++r) {
    const S* row = pinned(g.base + r * g.row + c);
    for (int s = 0; s < kColumns; ++s) {
      for (int v = 0; v < kVecs; ++v) {
        sum[v] = fma(load(row + s * g.column + v * kLanes<A>), w[r * 3 + s], sum[v]);
      }
    }
  }
  for (int v = 0; v < kVecs; ++v) put(output + c + v * kLanes<A>, sum[v], streams);
}

template <int kRows, int kColumns, bool kSkip, typename S, typename A, typename O>
void sample_pixel(Window<S> g, const A* weight, const S* skip, O* output, int64_t channels,
                  bool streams) {
  constexpr int kStep = kLanes<A>;
  Value<A> w[9];
  for (int r = 0; r < kRows; ++r) {
    for (int s = 0; s < kColumns; ++s) w[r * 3 + s] = broadcast<A>(weight[(r * 3 + s) * kChunk]);
  }
  int64_t c = 0;
  for (; c + 4 * kStep <= channels; c += 4 * kStep) {
    sample_channels<kRows, kColumns, 4, kSkip, S, A>(g, c, w, skip, output, streams);
  }
  for (; c + kStep <= channels; c += kStep) {
    sample_channels<kRows, kColumns, 1, kSkip, S, A>(g, c, w, skip, output, streams);
  }
  if (c < channels) {
    // Once more over some channels that are done: they get the same values.
    sample_channels<kRows, kColumns, 1, kSkip, S, A>(g, channels - kStep, w, skip, output, streams);
  }
}

// Fewer channels than a register has lanes.
template <bool kSkip, typename S, typename A, typename O>
void sample_narrow_pixel(int rows, int columns, Window<S> g, const A* weight, const S* skip,
                         O* output, int64_t channels) {
  for (int64_t c = 0; c < channels; ++c) {
    A sum = 0;
    if constexpr (kSkip) sum = widen(skip[c]);
    for (int r = 0; r < rows; ++r) {
      for (int s = 0; s < columns; ++s) {
        sum += widen(g.base[r * g.row + s * g.column + c]) * weight[(r * 3 + s) * kChunk];
      }
    }
    narrow(sum, output[c]);
  }
}

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
