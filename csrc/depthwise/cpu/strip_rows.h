#pragma once

// The rows of the maps between the input and the result that forward and backward both need.

#include "prefetch.h"

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

// The first convolution at row y of `target`, in all of its columns; zero outside the image.
template <typename A>
void local_row(const UnitShape& s, const Layout& layout, const A* weights, int64_t weights_part,
               const Ring<A>& source, const Ring<A>& target, int64_t y, int64_t x0) {
  const int radius = layout.edge / 2;
  const A* lines[kMaxSquare];
  for (int i = 0; i < layout.edge; ++i) lines[i] = source.at(y - radius + i, 0, -radius);
  for (int sub = 0; sub < target.subs; ++sub) {
    const A* w = weights + sub * weights_part;
    A* to = target.at(y, sub, target.first);
    for_blocks(target.columns, [&](auto size, int column) SCRN_LAMBDA_INLINE {
      constexpr int kOut = decltype(size)::value;
      Value<A> acc[kOut];
      fill<kOut, A>(acc, load(w + layout.bias * kLanes<A>));
      const int64_t at = sub * source.part() + (target.first + column) * kLanes<A>;
      for (int i = 0; i < layout.edge; ++i) {
        add_line<kOut, A>(acc, w + i * layout.edge * kLanes<A>, lines[i] + at, layout.edge);
      }
      store_block<kOut, A>(to + column * kLanes<A>, acc);
    });
  }
  clear_outside(target, y, target.first, target.first + target.columns, x0, s.width);
}

// The first convolution's rows up to `end`, those outside the image zero, and before them the rows
// of the input that they need. `next_input` and `next_row` are the first ones that are not there.
template <typename S, typename A>
void read_local_rows(const UnitShape& s, const Layout& layout, const A* weights,
                     int64_t weights_part, const S* map, const Tile& tile, const Ring<A>& input,
                     const Ring<A>& target, int64_t& next_input, int64_t& next_row, int64_t end) {
  for (; next_row < end; ++next_row) {
    if (next_row < 0 || next_row >= s.height) {
      target.clear(next_row);
      continue;
    }
    for (; next_input <= next_row + layout.edge / 2; ++next_input) {
      read_row(s, map, tile, next_input, input);
    }
    local_row(s, layout, weights, weights_part, input, target, next_row, tile.x0);
  }
}

// Strip i's row of `local` at row y.
template <typename S, typename A>
void strip_row(const UnitShape& s, const Layout& layout, int i, const A* weights,
               int64_t weights_part, const Ring<A>& local, const Ring<A>& target, int64_t y,
               Prefetch<S>& prefetch) {
  if (y < 0 || y >= s.height) return target.clear(y);
  for (int sub = 0; sub < target.subs; ++sub) {
    const A* w = weights + sub * weights_part + layout.row[i] * kLanes<A>;
    const A* from = local.at(y, sub, -layout.radius[i]);
    A* to = target.at(y, sub, 0);
    for_blocks(target.columns, [&](auto size, int column) SCRN_LAMBDA_INLINE {
      constexpr int kOut = decltype(size)::value;
      Value<A> acc[kOut];
      prefetch.some();
      fill<kOut, A>(acc, load(w + layout.length[i] * kLanes<A>));
      add_line<kOut, A>(acc, w, from + column * kLanes<A>, layout.length[i]);
      store_block<kOut, A>(to + column * kLanes<A>, acc);
    });
  }
}

// Rows y0 .. y0 + rows - 1 of the dilated convolution of `source`, in `columns` columns: calls
// done(Count<n>, r, column, sums) for every block of them. Rows that look at the same rows of the
// source come one after the other, so that those are read from the L1 cache.
template <typename A, typename Done>
SCRN_INLINE void dilated_rows(const UnitShape& s, const Layout& layout, const A* weights,
                              Value<A> bias, const Ring<A>& source, int sub, int64_t y0, int rows,
                              int columns, const Done& done) {
  const A* lines[kStep][kDilated];
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < kDilated; ++i) {
      lines[r][i] = source.at(y0 + r - layout.reach + i * s.dilation, sub, source.first);
    }
  }
  for_blocks(columns, [&](auto size, int column) SCRN_LAMBDA_INLINE {
    constexpr int kOut = decltype(size)::value;
    for (int first = 0; first < rows && first < s.dilation; ++first) {
      for (int r = first; r < rows; r += s.dilation) {
        Value<A> acc[kOut];
        fill<kOut, A>(acc, bias);
        for (int i = 0; i < kDilated; ++i) {
          add_dilated<kOut, A>(acc, weights + i * kDilated * kLanes<A>,
                               lines[r][i] + column * kLanes<A>, s.dilation);
        }
        done(size, r, column, acc);
      }
    }
  });
}

// What forward and backward of the unit with strips have in common: the rings of the input, of
// `local` and of the strips' rows, filled as far as rows y0 .. y0 + rows - 1 of the result need
// them.
template <typename S, typename A>
struct StripRows {
  const UnitShape& s;
  const Layout& layout;
  const Tile& tile;
  const A* weights;
  int64_t weights_part;
  Ring<A> input, local, row[kStrips];
  int64_t next_input, next_local = 0, next_row[kStrips];

  // `kept`: rows of the input above the first one of a step that are still needed.
  void shape(int subs, int columns, int kept) {
    const int longest = layout.longest;
    local = {nullptr, kStep + longest, whole_blocks(columns + 2 * longest), -longest, subs};
    const int read = kept > 0 ? kStep + longest + kept : 0;
    input = {nullptr, read + kLocal, local.columns + 4, -longest - 2, subs};
    next_input = -kLocal / 2;
    for (int i = 0; i < kStrips; ++i) {
      row[i] = {nullptr, kStep + 2 * layout.radius[i], columns, 0, subs};
      next_row[i] = -layout.radius[i];
    }
  }
  void place(Scratch& scratch) {
    scratch.take(input);
    scratch.take(local);
    for (Ring<A>& ring : row) scratch.take(ring);
  }
  void advance(const S* map, int64_t y0, int rows) {
    const int64_t end = y0 + rows + layout.longest;
    read_local_rows(s, layout, weights, weights_part, map, tile, input, local, next_input,
                    next_local, end < s.height ? end : s.height);
    const int pieces = kStrips * rows * local.subs * blocks_of(row[0].columns);
    Prefetch<S> prefetch(s, map, tile, next_input, kStep, input.first, input.first + input.columns,
                         pieces);
    for (int i = 0; i < kStrips; ++i) {
      for (; next_row[i] < y0 + rows + layout.radius[i]; ++next_row[i]) {
        strip_row(s, layout, i, weights, weights_part, local, row[i], next_row[i], prefetch);
      }
    }
  }
};

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
