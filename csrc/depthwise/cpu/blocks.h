#pragma once

// The inner loops. Rows of scratch memory hold a register of channels for every column: every
// convolution is a sum over taps of a weight's register times the registers of neighbouring
// columns.

#include "../../common/cpu/parallel.h"
#include "../../common/cpu/vec.h"
#include "plan.h"

// Of a lambda that is called for every width of a block.
#define SCRN_LAMBDA_INLINE __attribute__((always_inline))
#define SCRN_INLINE_MEMBER inline __attribute__((always_inline))

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

using namespace scrn::cpu::SCRN_CPU_ISA;
using scrn::cpu::thread_scratch;

template <int kCount>
struct Count {
  static constexpr int value = kCount;
};

// acc[i] += sum over k < count of weights[k] * the register that is i behind source + k * step.
template <int kOut, typename A>
SCRN_INLINE void add_taps(Value<A> (&acc)[kOut], const A* weights, const A* source, int count,
                          int64_t step) {
  for (int k = 0; k < count; ++k) {
    // Otherwise gcc keeps what two taps both read in registers, of which there are not enough.
    source = pinned(source);
    const Value<A> weight = load(weights);
#pragma GCC unroll 16
    for (int i = 0; i < kOut; ++i) acc[i] = fma(weight, load(source + i * kLanes<A>), acc[i]);
    weights += kLanes<A>;
    source += step;
  }
}

// Whether there are registers for a sum's results and for as many of its operands: AVX-512 has 32.
constexpr bool kHasWindow = kRegisterBytes == 64;

// acc[i] += sum over k < kTaps of weights[k] * the register at(k * kApart + i), each loaded once.
template <int kTaps, int kApart, int kOut, typename A, typename At>
SCRN_INLINE void add_window(Value<A> (&acc)[kOut], const A* weights, const At& at) {
  constexpr int kKept = kOut - kApart;  // from one tap to the next
  Value<A> window[kOut];
#pragma GCC unroll 16
  for (int i = 0; i < kKept; ++i) window[i] = load(at(i));
#pragma GCC unroll 32
  for (int k = 0; k < kTaps; ++k) {
#pragma GCC unroll 4
    for (int i = k * kApart + kKept; i < k * kApart + kOut; ++i) window[i % kOut] = load(at(i));
    const Value<A> weight = load(weights + k * kLanes<A>);
#pragma GCC unroll 16
    for (int i = 0; i < kOut; ++i) acc[i] = fma(weight, window[(k * kApart + i) % kOut], acc[i]);
  }
}

// Of the lengths that networks use; false for another.
template <int kOut, typename A, typename At>
SCRN_INLINE bool add_by_window(Value<A> (&acc)[kOut], const A* weights, int count, const At& at) {
  const auto add = [&](auto taps) SCRN_LAMBDA_INLINE {
    add_window<decltype(taps)::value, 1, kOut, A>(acc, weights, at);
    return true;
  };
  switch (count) {
    case 3:
      return add(Count<3>{});
    case 5:
      return add(Count<5>{});
    case 7:
      return add(Count<7>{});
    case 11:
      return add(Count<11>{});
    case 21:
      return add(Count<21>{});
    default:
      return false;
  }
}

// add_taps of neighbouring columns.
template <int kOut, typename A>
SCRN_INLINE void add_line(Value<A> (&acc)[kOut], const A* weights, const A* source, int count) {
  if constexpr (kHasWindow) {
    const auto at = [source](int i) SCRN_LAMBDA_INLINE { return source + i * kLanes<A>; };
    if (add_by_window<kOut, A>(acc, weights, count, at)) return;
  }
  add_taps<kOut, A>(acc, weights, source, count, kLanes<A>);
}

// A row of the dilated convolution: add_taps that are `dilation` columns apart.
template <int kOut, typename A>
SCRN_INLINE void add_dilated(Value<A> (&acc)[kOut], const A* weights, const A* source,
                             int dilation) {
  if constexpr (kHasWindow) {
    const auto at = [source](int i) SCRN_LAMBDA_INLINE { return source + i * kLanes<A>; };
    if (dilation == 3) return add_window<kDilated, 3, kOut, A>(acc, weights, at);
  }
  add_taps<kOut, A>(acc, weights, source, kDilated, dilation * kLanes<A>);
}

// acc[r * kOut + i] += sum over k < count of weights[k] * the register that is `offset` and i
// registers into rows[r + k].
template <int kRows, int kOut, typename A>
SCRN_INLINE void add_column(Value<A> (&acc)[kRows * kOut], const A* weights, const A* const* rows,
                            int64_t offset, int count) {
  if constexpr (kHasWindow) {
    static_assert(kOut == 1, "the window moves down a column");
    // Otherwise gcc keeps all of the addresses, for which there are not enough registers.
    rows = pinned(rows);
    const auto at = [rows, offset](int i) SCRN_LAMBDA_INLINE { return rows[i] + offset; };
    if (add_by_window<kRows, A>(acc, weights, count, at)) return;
  }
  for (int k = 0; k < count; ++k) {
    const Value<A> weight = load(weights + k * kLanes<A>);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const A* source = pinned(rows[k + r] + offset);  // or gcc keeps an address for every column
#pragma GCC unroll 16
      for (int i = 0; i < kOut; ++i) {
        acc[r * kOut + i] = fma(weight, load(source + i * kLanes<A>), acc[r * kOut + i]);
      }
    }
  }
}

// Calls body(Count<n>, first) for blocks of n columns that cover `count`, a multiple of 4.
template <typename Body>
SCRN_INLINE void for_blocks(int count, const Body& body) {
  int first = 0;
  const int rest = count % kBlockColumns;
  // A block of 4 does not fill the multipliers' pipeline: two of 8 take the place of 12 and 4.
  const int narrow = rest == 4 && count >= 16 ? 16 : rest;
  for (; first + narrow < count; first += kBlockColumns) body(Count<kBlockColumns>{}, first);
  for (; first + 8 <= count; first += 8) body(Count<8>{}, first);
  for (; first < count; first += 4) body(Count<4>{}, first);
}

// Calls body(Count<m>, Count<n>, r, column) for blocks of m rows and n columns. Without a window
// they cover the `rows`, and columns in multiples of 4. With one they are of all kStep rows,
// however few `rows` are: the body needs memory for them.
template <typename Body>
SCRN_INLINE void for_blocks(int rows, int columns, const Body& body) {
  if constexpr (kHasWindow) {
    for (int column = 0; column < columns; ++column) body(Count<kStep>{}, Count<1>{}, 0, column);
  } else {
    for_blocks(columns, [&](auto size, int column) SCRN_LAMBDA_INLINE {
      for (int r = 0; r < rows; ++r) body(Count<1>{}, size, r, column);
    });
  }
}

// How many blocks that is.
SCRN_INLINE int blocks_of(int count) { return (count + kBlockColumns - 1) / kBlockColumns; }
SCRN_INLINE int blocks_of(int rows, int columns) {
  return kHasWindow ? columns : rows * blocks_of(columns);
}

SCRN_INLINE int whole_blocks(int columns) { return (columns + 3) / 4 * 4; }

// Rows of a map, the last `rows` of them kept. Column `first` of the tile is the first of a row.
// Sums that nobody needs may read beyond a row, as other scratch memory of the task follows the
// last. A row has `subs` parts, one for each register of a group's channels.
template <typename A>
struct Ring {
  A* data = nullptr;
  int rows = 0, columns = 0, first = 0, subs = 1;

  // An odd number of cache lines: what lies below each other is in different sets of the cache.
  static int64_t odd_lines(int64_t elements) {
    constexpr int64_t kLine = 64 / sizeof(A);
    return ((elements + kLine - 1) / kLine | 1) * kLine;
  }
  int64_t part() const { return odd_lines(static_cast<int64_t>(columns) * kLanes<A>); }
  int64_t pitch() const { return odd_lines(subs * part()); }
  int slot(int64_t y) const {
    const int64_t rest = y % rows;
    return static_cast<int>(rest < 0 ? rest + rows : rest);
  }
  // The register of row y at a column of the tile.
  A* at(int64_t y, int sub, int column) const {
    return data + slot(y) * pitch() + sub * part() +
           static_cast<int64_t>(column - first) * kLanes<A>;
  }
  // The same of rows y .. y + count - 1.
  template <typename Pointer>
  void lines(int64_t y, int count, int sub, int column, Pointer* result) const {
    A* const row = at(0, sub, column);
    int next = slot(y);
    for (int i = 0; i < count; ++i) {
      result[i] = row + next * pitch();
      if (++next == rows) next = 0;
    }
  }
  int64_t elements() const { return rows * pitch(); }
  void clear(int64_t y) const { memset(data + slot(y) * pitch(), 0, sizeof(A) * pitch()); }
};

template <int kOut, typename A>
SCRN_INLINE void fill(Value<A> (&acc)[kOut], Value<A> value) {
  for (int i = 0; i < kOut; ++i) acc[i] = value;
}
template <int kOut, typename A>
SCRN_INLINE void store_block(A* target, const Value<A>* acc) {
  for (int i = 0; i < kOut; ++i) store(target + i * kLanes<A>, acc[i]);
}

// Makes columns [from, to) of the tile that lie outside the image zero.
template <typename A>
void clear_outside(const Ring<A>& ring, int64_t y, int from, int to, int64_t x0, int64_t width) {
  for (int sub = 0; sub < ring.subs; ++sub) {
    for (int x = from; x < to && x0 + x < 0; ++x) store(ring.at(y, sub, x), Value<A>{});
    for (int x = to - 1; x >= from && x0 + x >= width; --x) {
      store(ring.at(y, sub, x), Value<A>{});
    }
  }
}

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
