#pragma once

// The forward of every unit: a task walks down its tile, and keeps of every intermediate map the
// rows that are still needed.

#include "gelu.h"
#include "strip_rows.h"

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

SCRN_INLINE Tile tile_of(const UnitShape& s, int64_t tiles, int tile_width, int group, int lanes,
                         int64_t task) {
  const int64_t groups = (s.channels + group - 1) / group;
  Tile tile;
  tile.c0 = task % groups * group;
  tile.x0 = task / groups % tiles * tile_width;
  tile.b = task / groups / tiles;
  tile.width = s.width - tile.x0 < tile_width ? static_cast<int>(s.width - tile.x0) : tile_width;
  tile.channels = s.channels - tile.c0 < group ? static_cast<int>(s.channels - tile.c0) : group;
  tile.registers = (tile.channels + lanes - 1) / lanes;
  return tile;
}

// A store waits for its line, unless it is streamed: lines of planes lie too far apart for the
// hardware to foresee.
template <typename S>
SCRN_INLINE Prefetch<S> output_rows(const ForwardPlan& plan, const Tile& tile, int64_t y0, int rows,
                                    int64_t pieces) {
  const S* output = static_cast<const S*>(plan.params.output);
  return Prefetch<S>(plan.params.shape, output, tile, y0, plan.streams ? 0 : rows, 0, tile.width,
                     pieces);
}

// Whether a tile's results go from the registers to the map, without another row. Not where they
// are parts of cache lines and streamed: those that are written at different times take twice as
// long.
template <typename A>
SCRN_INLINE bool puts_registers(const UnitShape& s, const Tile& tile, bool streams) {
  return s.channels_last && tile.channels == tile.registers * kLanes<A> &&
         (kRegisterBytes == 64 || !streams);
}

// Columns column .. column + kOut - 1 to a channels_last map, those of the tile's `width`; `target`
// is its column 0.
template <int kOut, typename S, typename A>
SCRN_INLINE void put_columns(S* target, int64_t channels, int width, int column,
                             const Value<A>* values, bool streams) {
  target += column * channels;
  if (column + kOut > width) {
    for (int i = 0; column + i < width; ++i) put(target + i * channels, values[i], streams);
  } else if (streams) {
#pragma GCC unroll 16
    for (int i = 0; i < kOut; ++i) stream(target + i * channels, values[i]);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kOut; ++i) store(target + i * channels, values[i]);
  }
}

// Rows y0 .. y0 + rows - 1 of the result: where `writes`, from the registers to the map, else to
// `total`.
template <typename S, typename A>
void add_columns(const ForwardPlan& plan, const StripRows<S, A>& maps, int64_t y0, int rows,
                 const Ring<A>& total, bool writes) {
  const UnitShape& s = plan.params.shape;
  const Layout& layout = maps.layout;
  const Tile& tile = maps.tile;
  const int64_t row_elements = s.channels * s.width;
  S* output = pixel(s, static_cast<S*>(plan.params.output), tile.b, tile.c0, y0, tile.x0);
  Prefetch<S> written = output_rows<S>(plan, tile, y0, writes ? 0 : rows,
                                       total.subs * blocks_of(rows, total.columns));
  for (int sub = 0; sub < total.subs; ++sub) {
    const A* w = maps.weights + sub * maps.weights_part;
    const A *local[kStep], *lines[kStrips][kStep + kMaxStrip - 1];
    maps.local.lines(y0, kStep, sub, 0, local);
    A* targets[kStep] = {};
    if (!writes) total.lines(0, kStep, sub, 0, targets);
    Value<A> bias = {};
    for (int i = 0; i < kStrips; ++i) {
      maps.row[i].lines(y0 - layout.radius[i], kStep + layout.length[i] - 1, sub, 0, lines[i]);
      bias += load(w + layout.column_bias[i] * kLanes<A>);
    }
    const auto add = [&](auto down, auto size, int r, int column) SCRN_LAMBDA_INLINE {
      constexpr int kRows = decltype(down)::value, kOut = decltype(size)::value;
      const int64_t at = column * kLanes<A>;
      written.some();
      Value<A> acc[kRows * kOut];
#pragma GCC unroll 16
      for (int k = 0; k < kRows; ++k) {
        const A* from = pinned(local[r + k] + at);
#pragma GCC unroll 16
        for (int i = 0; i < kOut; ++i) acc[k * kOut + i] = bias + load(from + i * kLanes<A>);
      }
      for (int i = 0; i < kStrips; ++i) {
        add_column<kRows, kOut, A>(acc, w + layout.column[i] * kLanes<A>, lines[i] + r, at,
                                   layout.length[i]);
      }
#pragma GCC unroll 16
      for (int k = 0; k < kRows; ++k) {
        const Value<A>* values = acc + k * kOut;
        if (!writes) {
          store_block<kOut, A>(targets[r + k] + at, values);
        } else if (r + k < rows) {
          put_columns<kOut, S, A>(output + (r + k) * row_elements + sub * kLanes<A>, s.channels,
                                  tile.width, column, values, plan.streams);
        }
      }
    };
    for_blocks(rows, total.columns, add);
  }
}

template <typename S, typename A>
void multi_scale_tile(const ForwardPlan& plan, const Tile& tile) {
  const UnitShape& s = plan.params.shape;
  const Layout layout(s);
  const int subs = tile.registers;
  const int64_t part = taps_of(s) * kLanes<A>;
  const int columns = whole_blocks(tile.width);
  const bool writes = puts_registers<A>(s, tile, plan.streams);
  StripRows<S, A> maps{s, layout, tile, nullptr, part, {}, {}, {}, 0, 0, {}};
  maps.shape(subs, columns, /*kept=*/0);
  Ring<A> total{nullptr, writes ? 0 : kStep, columns, 0, subs};
  A* weights = nullptr;
  place([&](Scratch& scratch) {
    weights = scratch.take<A>(subs * part);
    maps.place(scratch);
    scratch.take(total);
  });
  maps.weights = weights;
  read_tile_weights(s, plan.params.weights, tile, weights);
  const S* input = static_cast<const S*>(plan.params.input);
  for (int64_t y0 = 0; y0 < s.height; y0 += kStep) {
    const int rows = s.height - y0 < kStep ? static_cast<int>(s.height - y0) : kStep;
    maps.advance(input, y0, rows);
    add_columns(plan, maps, y0, rows, total, writes);
    if (writes) continue;
    for (int64_t y = y0; y < y0 + rows; ++y) {
      write_row(s, total, y - y0, static_cast<S*>(plan.params.output), tile, y, plan.streams);
    }
  }
}

template <typename S, typename A>
void large_kernel_tile(const ForwardPlan& plan, const Tile& tile) {
  const UnitShape& s = plan.params.shape;
  const Layout layout(s);
  const int subs = tile.registers;
  const int64_t part = taps_of(s) * kLanes<A>;
  const int columns = whole_blocks(tile.width), reach = layout.reach;
  Ring<A> local{nullptr, kStep + 2 * reach, whole_blocks(columns + 2 * reach), -reach, subs};
  Ring<A> source{nullptr, kLocal, local.columns + 4, -reach - 2, subs};
  const bool writes = puts_registers<A>(s, tile, plan.streams);
  Ring<A> total{nullptr, writes ? 0 : kStep, columns, 0, subs};
  A* weights = nullptr;
  place([&](Scratch& scratch) {
    weights = scratch.take<A>(subs * part);
    scratch.take(source);
    scratch.take(local);
    scratch.take(total);
  });
  read_tile_weights(s, plan.params.weights, tile, weights);
  const S* input = static_cast<const S*>(plan.params.input);
  S* output = static_cast<S*>(plan.params.output);
  int64_t next_input = -kLocal / 2, next_local = -reach;
  for (int64_t y0 = 0; y0 < s.height; y0 += kStep) {
    const int rows = s.height - y0 < kStep ? static_cast<int>(s.height - y0) : kStep;
    read_local_rows(s, layout, weights, part, input, tile, source, local, next_input, next_local,
                    y0 + rows + reach);
    const int pieces = subs * rows * blocks_of(columns);
    Prefetch<S> prefetch(s, input, tile, next_input, kStep, source.first,
                         source.first + source.columns, pieces);
    Prefetch<S> written = output_rows<S>(plan, tile, y0, writes ? 0 : rows, pieces);
    for (int sub = 0; sub < subs; ++sub) {
      const A* w = weights + sub * part;
      dilated_rows(s, layout, w + layout.dilated * kLanes<A>,
                   load(w + layout.dilated_bias * kLanes<A>), local, sub, y0, rows, columns,
                   [&](auto size, int r, int column, const Value<A>* acc) SCRN_LAMBDA_INLINE {
                     constexpr int kOut = decltype(size)::value;
                     prefetch.some();
                     written.some();
                     if (writes) {
                       const int c = tile.c0 + sub * kLanes<A>;
                       put_columns<kOut, S, A>(pixel(s, output, tile.b, c, y0 + r, tile.x0),
                                               s.channels, tile.width, column, acc, plan.streams);
                     } else {
                       store_block<kOut, A>(total.at(r, sub, column), acc);
                     }
                   });
    }
    if (writes) continue;
    for (int64_t y = y0; y < y0 + rows; ++y) {
      write_row(s, total, y - y0, output, tile, y, plan.streams);
    }
  }
}

// A row is written only after the rows that its neighbours need have been read: the output may be
// the input, if a tile is as wide as the image.
template <int kSquare, typename S, typename A>
void gelu_tile(const ForwardPlan& plan, const Tile& tile) {
  const UnitShape& s = plan.params.shape;
  const Layout layout(s);
  const int subs = tile.registers;
  const int64_t part = taps_of(s) * kLanes<A>;
  const int columns = whole_blocks(tile.width), radius = kSquare / 2;
  const bool writes = puts_registers<A>(s, tile, plan.streams);
  Ring<A> source{nullptr, kSquare, columns + 2 * radius, -radius, subs};
  Ring<A> total{nullptr, writes ? 0 : 1, columns, 0, subs};
  A* weights = nullptr;
  place([&](Scratch& scratch) {
    weights = scratch.take<A>(subs * part);
    scratch.take(source);
    scratch.take(total);
  });
  read_tile_weights(s, plan.params.weights, tile, weights);
  const S* input = static_cast<const S*>(plan.params.input);
  S* output = static_cast<S*>(plan.params.output);
  int64_t next_input = -radius;
  for (int64_t y = 0; y < s.height; ++y) {
    for (; next_input <= y + radius; ++next_input) {
      read_row(s, input, tile, next_input, source);
    }
    const A* lines[kSquare];
    source.lines(y - radius, kSquare, 0, -radius, lines);
    Prefetch<S> prefetch(s, input, tile, next_input, 1, source.first, source.first + source.columns,
                         subs * blocks_of(columns));
    S* row = pixel(s, output, tile.b, tile.c0, y, tile.x0);
    for_blocks(columns, [&](auto size, int column) SCRN_LAMBDA_INLINE {
      constexpr int kOut = decltype(size)::value;
      for (int sub = 0; sub < subs; ++sub) {
        const A* w = weights + sub * part;
        const int64_t at = sub * source.part() + column * kLanes<A>;
        prefetch.some();
        Value<A> acc[kOut];
        fill<kOut, A>(acc, load(w + layout.bias * kLanes<A>));
#pragma GCC unroll 8
        for (int i = 0; i < kSquare; ++i) {
          add_line<kOut, A>(acc, w + i * kSquare * kLanes<A>, pinned(lines[i] + at), kSquare);
        }
        gelu_block<kOut, A>(acc, plan.gelu_table);
        if (writes) {
          put_columns<kOut, S, A>(row + sub * kLanes<A>, s.channels, tile.width, column, acc,
                                  plan.streams);
        } else {
          store_block<kOut, A>(total.at(y, sub, column), acc);
        }
      }
    });
    if (!writes) write_row(s, total, y, output, tile, y, plan.streams);
  }
}

template <typename S, typename A>
void forward_tasks(const ForwardPlan& plan, int64_t begin, int64_t end) {
  const UnitShape& s = plan.params.shape;
  for (int64_t task = begin; task < end; ++task) {
    const Tile tile = tile_of(s, plan.tiles, plan.tile_width, plan.group, kLanes<A>, task);
    switch (s.unit) {
      case Unit::kMultiScale:
        multi_scale_tile<S, A>(plan, tile);
        break;
      case Unit::kLargeKernel:
        large_kernel_tile<S, A>(plan, tile);
        break;
      case Unit::kGelu:
        if (s.square == 3) {
          gelu_tile<3, S, A>(plan, tile);
        } else if (s.square == 5) {
          gelu_tile<5, S, A>(plan, tile);
        } else {
          gelu_tile<7, S, A>(plan, tile);
        }
        break;
    }
  }
  if (plan.streams) fence_streams();
}

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
