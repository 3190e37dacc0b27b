#pragma once

// The taps of a chunk of output pixels, computed a register of pixels at a time.

#include "isa.h"
#include "plan.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

template <typename A>
struct VecTaps {
  Index<A> first;
  Value<A> weight[3];
  Value<A> slope[3];
};

// What the table of an upsampled axis says of a cell.
template <typename A>
struct CellEntry {
  Index<A> first;
  Value<A> left, right;
};

// With small offsets, that is nearly always, all of `index` is near `expected`, the index of a
// cell of the map.
template <typename A>
SCRN_INLINE CellEntry<A> look_up(const AxisTable& table, Index<A> index, int64_t expected) {
  const A* left = static_cast<const A*>(table.left);
  const A* right = static_cast<const A*>(table.right);
  if constexpr (kSelects<A>) {
    static_assert(2 * kLanes<A> <= kTablePadding);
    const int64_t start = expected - kLanes<A>;
    if (__builtin_expect(in_two_registers(index, start), 1)) {
      const Index<A> at = index - static_cast<typename Vec<A>::Int>(start);
      return {select(table.first + start, at), select(left + start, at), select(right + start, at)};
    }
  }
  return {gather(table.first, index), gather(left, index), gather(right, index)};
}

// upsample_taps of taps.h, its part that depends on the cell alone read from the table. `middle`
// is the index in the middle of the register.
template <typename A>
SCRN_INLINE VecTaps<A> upsample_taps(const AxisTable& table, Index<A> index, int64_t middle,
                                     Value<A> offset) {
  const Value<A> zero = {}, one = broadcast<A>(1);
  auto inside =
      (offset >= to_value<A>(-1 - index)) & (offset < to_value<A>(table.out_size - index));
  const Value<A> safe = inside ? offset : zero;
  Index<A> whole = truncate<A>(safe);
  whole += to_value<A>(whole) > safe;
  const Value<A> fraction = safe - to_value<A>(whole);
  Index<A> cell = index + whole;
  // For lanes beyond the row's end, and since float bounds of more than 2^24 are rounded ones.
  const Index<A> last = broadcast_index<A>(table.out_size - 1);
  inside &= (cell >= -1) & (cell <= last);
  cell = cell > last ? last : cell;
  cell = cell < -1 ? broadcast_index<A>(-1) : cell;

  const auto low = (cell >= 0) & inside, high = (cell < last) & inside;
  const Value<A> w0 = low ? one - fraction : zero, w1 = high ? fraction : zero;
  const Value<A> s0 = low ? -one : zero, s1 = high ? one : zero;
  const CellEntry<A> entry = look_up<A>(table, cell + 1, middle + 1);
  const Value<A> part0 = entry.left, signed1 = entry.right;
  const auto advance = bits_of<A>(signed1) < 0;
  const Value<A> part1 = advance ? -signed1 : signed1;
  // The right end's shares of the three taps.
  const Value<A> r0 = advance ? zero : one - part1;
  const Value<A> r1 = advance ? one - part1 : part1;
  const Value<A> r2 = advance ? part1 : zero;
  VecTaps<A> taps;
  taps.first = entry.first;
  taps.weight[0] = fma(w0, one - part0, w1 * r0);
  taps.weight[1] = fma(w0, part0, w1 * r1);
  taps.weight[2] = w1 * r2;
  taps.slope[0] = fma(s0, one - part0, s1 * r0);
  taps.slope[1] = fma(s0, part0, s1 * r1);
  taps.slope[2] = s1 * r2;
  return taps;
}

// direct_taps of taps.h; base and start are the cell and the fraction of the output index.
template <typename A>
SCRN_INLINE VecTaps<A> direct_taps(const AxisTable& table, Index<A> base, Value<A> start,
                                   Value<A> offset) {
  const Value<A> zero = {}, one = broadcast<A>(1);
  const Value<A> scale = broadcast<A>(static_cast<A>(table.scale));
  const Value<A> shift = fma(offset, scale, start);
  auto inside = (shift >= to_value<A>(-1 - base)) & (shift < to_value<A>(table.in_size - base));
  const Value<A> safe = inside ? shift : zero;
  Index<A> whole = truncate<A>(safe);
  whole += to_value<A>(whole) > safe;
  const Value<A> fraction = safe - to_value<A>(whole);
  const Index<A> cell = base + whole;
  inside &= (cell >= -1) & (cell < table.in_size);  // as in upsample_taps
  const auto low = (cell >= 0) & inside, high = (cell < table.in_size - 1) & inside;
  const Value<A> left = one - fraction, right = high ? fraction : zero;
  const Value<A> right_slope = high ? scale : zero;
  VecTaps<A> taps;
  taps.first = low ? cell : Index<A>{};
  taps.weight[0] = low ? left : right;
  taps.weight[1] = low ? right : zero;
  taps.weight[2] = zero;
  taps.slope[0] = low ? -scale : right_slope;
  taps.slope[1] = low ? right_slope : zero;
  taps.slope[2] = zero;
  return taps;
}

template <typename A>
SCRN_INLINE VecTaps<A> row_taps(const AxisTable& table, int64_t y, Value<A> offset) {
  if (table.upsample) return upsample_taps<A>(table, broadcast_index<A>(y), y, offset);
  return direct_taps<A>(table, broadcast_index<A>(table.first[y]),
                        broadcast<A>(static_cast<const A*>(table.left)[y]), offset);
}
template <typename A>
SCRN_INLINE VecTaps<A> column_taps(const AxisTable& table, int64_t x, Value<A> offset) {
  if (table.upsample) {
    const Index<A> index = broadcast_index<A>(x) + iota<A>();
    return upsample_taps<A>(table, index, x + kLanes<A> / 2, offset);
  }
  return direct_taps<A>(table, load_index(table.first + x, A(0)),
                        load(static_cast<const A*>(table.left) + x), offset);
}

// How many leading taps matter, 0 to 3, from one mask per tap.
template <typename A, typename Mask>
SCRN_INLINE Index<A> leading(Mask t0, Mask t1, Mask t2) {
  return -((t0 | t1 | t2) + (t1 | t2) + t2);
}
template <typename A>
SCRN_INLINE Index<A> weight_count(const VecTaps<A>& t) {
  return leading<A>(t.weight[0] != 0, t.weight[1] != 0, t.weight[2] != 0);
}
template <typename A>
SCRN_INLINE Index<A> slope_count(const VecTaps<A>& t) {
  return leading<A>((t.weight[0] != 0) | (t.slope[0] != 0), (t.weight[1] != 0) | (t.slope[1] != 0),
                    (t.weight[2] != 0) | (t.slope[2] != 0));
}

// The number of taps in y and in x as one number, 0 if there is none: the kernels are
// specialised for each of the nine others.
template <typename A>
SCRN_INLINE Index<A> pattern_of(Index<A> rows, Index<A> columns) {
  const Index<A> pattern = rows * 4 + columns;
  return (rows > 0) & (columns > 0) ? pattern : Index<A>{};
}

template <typename A>
struct ForwardTaps {
  A weight[9][kChunk];  // of tap (r, s) at r * 3 + s
  int32_t y[kChunk], x[kChunk];
  int32_t pattern[kChunk];
};

// Offsets of `count` pixels from (y, x0) on, readable up to a whole register further.
template <typename A>
void forward_taps(const AxisTable& table_y, const AxisTable& table_x, int64_t y, int64_t x0,
                  int count, const A* offset_x, const A* offset_y, ForwardTaps<A>& result) {
  for (int i = 0; i < count; i += kLanes<A>) {
    const VecTaps<A> ty = row_taps<A>(table_y, y, load(offset_y + i));
    const VecTaps<A> tx = column_taps<A>(table_x, x0 + i, load(offset_x + i));
    for (int r = 0; r < 3; ++r) {
      for (int s = 0; s < 3; ++s) store(result.weight[r * 3 + s] + i, ty.weight[r] * tx.weight[s]);
    }
    store_index(result.y + i, ty.first);
    store_index(result.x + i, tx.first);
    store_index(result.pattern + i, pattern_of<A>(weight_count(ty), weight_count(tx)));
  }
}

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
