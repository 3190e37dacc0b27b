#pragma once

// The tiles of the multi-scale unit, its weights in shared memory, and the 5x5 convolution.

#include "rings.cuh"

namespace scrn::depthwise::cuda {

// kWide: NCHW. kGrouped: channels_last, and narrow maps; channels share a sector of 32 bytes.
// Both know strips of 7, 11 and 21; kAny has room for 31, and loops in the place of registers.
inline constexpr int kWide = 0, kGrouped = 1, kAny = 2;

template <typename Sum, int kKind>
struct Tile {
  using A = Sum;
  static constexpr bool kIsAny = kKind == kAny;
  static constexpr int kGroup = kKind == kWide ? 1 : (kIsAny && sizeof(A) == 8 ? 2 : 4);
  static constexpr int kWidth = kKind == kWide ? 64 : (kIsAny ? 16 : 32);
  static constexpr int kStep = kKind == kWide ? 16 : 8;  // rows at a time
  static constexpr int kRadius = kIsAny ? 15 : 10;       // of the longest strip
  // Eight results of a column or a row, for which a thread keeps what it has loaded.
  static constexpr int kResults = 8;
  static constexpr int kGranules = kStep / kResults;

  SCRN_HOST_DEVICE constexpr int length(int strip) {
    return kIsAny ? kMaxStrip : (strip == 0 ? 7 : (strip == 1 ? 11 : 21));
  }
  SCRN_HOST_DEVICE constexpr int whole(int n) { return (n + 3) / 4 * 4; }

  // Columns of the local map, from kRadius before the tile on, and of the input, from two more.
  static constexpr int kLocalColumns = whole(kWidth + 2 * kRadius);
  static constexpr int kLocalPitch = row_pitch(kLocalColumns);
  static constexpr int kInputColumns = kLocalColumns + kLocal - 1;
  static constexpr int kInputPitch = row_pitch(kInputColumns);
  static constexpr int kInputRows = kStep + kLocal - 1;
  static constexpr int kInputPlane = plane_pitch(kInputRows * kInputPitch);
  static constexpr int kPitch = row_pitch(kWidth);

  // A channel's weights: the 5x5 kernel's rows, the strips, and the biases in the order of the
  // convolutions.
  static constexpr int kLocalWeights = kLocal * 8;
  SCRN_HOST_DEVICE constexpr int row_weights(int strip) {
    int first = kLocalWeights;
    for (int i = 0; i < strip; ++i) first += 2 * whole(length(i));
    return first;
  }
  SCRN_HOST_DEVICE constexpr int column_weights(int strip) {
    return row_weights(strip) + whole(length(strip));
  }
  static constexpr int kBiases = row_weights(kStrips);
  SCRN_HOST_DEVICE constexpr int row_bias(int strip) { return kBiases + 1 + 2 * strip; }
  SCRN_HOST_DEVICE constexpr int column_bias(int strip) { return kBiases + 2 + 2 * strip; }
  static constexpr int kWeights = kBiases + 8;
};

struct Strips {
  int length[kStrips];
};

// What the unit's kernels are told.
struct MultiScaleParams : TileParams {
  Steps steps;
  Strips strips;
  int taps;
  void* grad_local = nullptr;  // [B,C,H,W], contiguous, accumulate type; of the backward
};

inline MultiScaleParams multi_scale_params(const TileParams& p) {
  const UnitShape& s = p.shape;
  const Strips strips{{s.strips[0], s.strips[1], s.strips[2]}};
  return {p, steps_of(s, s.channels_last), strips, taps_of(s)};
}
inline bool has_usual_strips(const UnitShape& s) {
  return s.strips[0] == 7 && s.strips[1] == 11 && s.strips[2] == 21;
}

// Where a weight of the operator's [C, taps] lies among a channel's weights in shared memory.
template <typename Tile>
SCRN_DEVICE int weight_place(const Strips& strips, int tap) {
  constexpr int kTaps = kLocal * kLocal;
  if (tap < kTaps) return tap / kLocal * 8 + tap % kLocal;
  if (tap == kTaps) return Tile::kBiases;
  tap -= kTaps + 1;
#pragma unroll
  for (int i = 0; i < kStrips; ++i) {
    const int n = strips.length[i];
    if (tap < n) return Tile::row_weights(i) + tap;
    if (tap == n) return Tile::row_bias(i);
    tap -= n + 1;
    if (tap < n) return Tile::column_weights(i) + tap;
    if (tap == n) return Tile::column_bias(i);
    tap -= n + 1;
  }
  return 0;
}

// The group's weights.
template <typename Tile, int kBlock>
SCRN_DEVICE void load_strips(typename Tile::A* to, const MultiScaleParams& p,
                             const Corner& corner) {
  load_weights<Tile::kGroup, kBlock>(p, corner, p.taps, 0, p.taps, to, [&](int c, int tap) {
    return c * Tile::kWeights + weight_place<Tile>(p.strips, tap);
  });
}

// The local map of kStep rows from first_row on: x is the input, from two rows before them on.
// Each thread has kItem neighbours of a row, kApart after the last thread's, and takes kTogether of
// the kernel's rows at a time. The map is zero outside.
template <typename Tile, int kBlock, int kItem, int kApart, int kTogether, typename A>
SCRN_DEVICE void local_map(const Rows<A>& x, const A* weights, int64_t first_row, int height,
                           int64_t first_column, int width, const Rows<A>& to) {
  constexpr int kColumns = Tile::kLocalColumns,
                kItems = (kColumns - kItem + kApart - 1) / kApart + 1;
  static_assert((kItems - 1) * kApart + kItem == kColumns, "the items are a row");
  constexpr int kWindow = kItem + kLocal - 1;
  const Inside across = Inside::of(first_column, kColumns, width);
  for (int i = threadIdx.x; i < Tile::kGroup * Tile::kStep * kItems; i += kBlock) {
    const int row = i % Tile::kStep, item = i / Tile::kStep % kItems;
    const int c = i / (Tile::kStep * kItems), column = item * kApart;
    const A* const taps = weights + c * Tile::kWeights;
    A sum[kItem];
#pragma unroll
    for (A& each : sum) each = taps[Tile::kBiases];
#pragma unroll(kTogether)
    for (int dy = 0; dy < kLocal; ++dy) {
      A window[kWindow], weight[8];
      load_row(window, row_of(x, c, row + dy) + column);
      load_row(weight, taps + dy * 8);
#pragma unroll
      for (int dx = 0; dx < kLocal; ++dx) {
#pragma unroll
        for (int e = 0; e < kItem; ++e) sum[e] += weight[dx] * window[e + dx];
      }
    }
    const int64_t y = first_row + row;
    const bool inside = y >= 0 && y < height;
#pragma unroll
    for (int e = 0; e < kItem; ++e) {
      if (!(inside && has(across, column + e))) sum[e] = 0;
    }
    store_row(row_of(to, c, row) + column, sum, 0, item + 1 < kItems ? kApart : kItem);
  }
}

// The first of a row's window that a strip needs, counted from kRadius before the item's first
// column; a multiple of 16 bytes.
template <typename Tile, int kStrip>
inline constexpr int kRowSkip = (Tile::kRadius - Tile::length(kStrip) / 2) / 4 * 4;
// From there on, so many columns for kItem results.
template <typename Tile, int kStrip, int kItem>
inline constexpr int kRowWindow =
    Tile::whole(Tile::kRadius - Tile::length(kStrip) / 2 - kRowSkip<Tile, kStrip> + kItem +
                Tile::length(kStrip) - 1);

// Adds to neighbours of a row what a strip along it makes of the map beneath, of which window[0]
// lies kRadius - kSkip before the first of them. kFlipped: the transposed strip.
template <typename Tile, int kStrip, bool kFlipped, int kSkip, int kWindow, int kItem, typename A>
SCRN_DEVICE void add_row_strip(const A (&window)[kWindow], const A* weights, A (&sum)[kItem]) {
  constexpr int kLength = Tile::length(kStrip);
  constexpr int kFirst = Tile::kRadius - kLength / 2 - kSkip;
  static_assert(kFirst >= 0 && kFirst + kItem + kLength - 1 <= kWindow, "the window holds it");
#pragma unroll
  for (int part = 0; part < kLength; part += 4) {
    A weight[4];
    load_row(weight, weights + part);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int tap = part + i;
      if (tap >= kLength) continue;
#pragma unroll
      for (int e = 0; e < kItem; ++e) {
        sum[e] += weight[i] * window[e + kFirst + (kFlipped ? kLength - 1 - tap : tap)];
      }
    }
  }
}

// Rings of rows in granules of kResults. The results of a thread lie kRadius rows above the end of
// a granule, the newest; what its longest strip needs ends there, and starts so many before.
template <typename Tile>
inline constexpr int kWindowGranules =
    (2 * Tile::kRadius + Tile::kResults + Tile::kResults - 1) / Tile::kResults;
// Rows from the first of those granules to the first result.
template <typename Tile>
inline constexpr int kResultRow = Tile::kResults * (kWindowGranules<Tile> - 1) - Tile::kRadius;
template <typename Tile, int kStrip>
inline constexpr int kWindowRow = kResultRow<Tile> - Tile::length(kStrip) / 2;

// Granules that a ring needs whose oldest row in use is so far behind the first of the window.
template <typename Tile>
SCRN_HOST_DEVICE constexpr int ring_granules(int first_row) {
  return kWindowGranules<Tile> - first_row / Tile::kResults + Tile::kGranules - 1;
}

// The place in a ring of the granule that is so many older than the one at `newest`.
SCRN_DEVICE int older(int newest, int back, int ring) {
  const int slot = newest - back;
  return slot < 0 ? slot + ring : slot;
}

// A thread's column in the granules of its window, from the one with row kFirstRow of the window
// on.
template <typename Tile, int kFirstRow, typename A>
struct Column {
  static constexpr int kFirst = kFirstRow / Tile::kResults;
  const A* granule[kWindowGranules<Tile> - kFirst];
  int pitch;
};

template <typename Tile, int kFirstRow, typename A>
SCRN_DEVICE Column<Tile, kFirstRow, A> column_of(const A* ring, int pitch, int newest,
                                                 int granules) {
  using Result = Column<Tile, kFirstRow, A>;
  Result column;
  column.pitch = pitch;
#pragma unroll
  for (int i = Result::kFirst; i < kWindowGranules<Tile>; ++i) {
    const int slot = older(newest, kWindowGranules<Tile> - 1 - i, granules);
    column.granule[i - Result::kFirst] = ring + slot * Tile::kResults * pitch;
  }
  return column;
}

// Row `row` of the window.
template <typename Tile, int kFirstRow, typename A>
SCRN_DEVICE A value_of(const Column<Tile, kFirstRow, A>& column, int row) {
  return column.granule[row / Tile::kResults - Column<Tile, kFirstRow, A>::kFirst]
                       [row % Tile::kResults * column.pitch];
}

// Adds to a thread's results what a strip down the column makes of it.
template <typename Tile, int kStrip, int kFirstRow, typename A>
SCRN_DEVICE void add_column_strip(const Column<Tile, kFirstRow, A>& column, const A* weights,
                                  A (&sum)[Tile::kResults]) {
  constexpr int kLength = Tile::length(kStrip);
  A weight[Tile::whole(kLength)];
  load_row(weight, weights);
#pragma unroll
  for (int row = 0; row < kLength + Tile::kResults - 1; ++row) {
    const A value = value_of(column, kWindowRow<Tile, kStrip> + row);
#pragma unroll
    for (int e = 0; e < Tile::kResults; ++e) {
      const int tap = row - e;
      if (tap < 0 || tap >= kLength) continue;
      sum[e] += weight[tap] * value;
    }
  }
}

// The transposed strip down a column, and that strip's gradient of the results `map`: both read the
// same rows of the column.
template <typename Tile, int kStrip, bool kHasGradient, int kFirstRow, int kFirst, int kSums,
          typename A>
SCRN_DEVICE void add_transposed_column(const Column<Tile, kFirstRow, A>& column, const A* weights,
                                       const A (&map)[Tile::kResults], A (&sum)[Tile::kResults],
                                       std::integral_constant<int, kFirst>, A (&gradient)[kSums]) {
  constexpr int kLength = Tile::length(kStrip);
  A weight[Tile::whole(kLength)];
  load_row(weight, weights);
#pragma unroll
  for (int row = 0; row < kLength + Tile::kResults - 1; ++row) {
    const A value = value_of(column, kWindowRow<Tile, kStrip> + row);
#pragma unroll
    for (int e = 0; e < Tile::kResults; ++e) {
      const int tap = kLength - 1 - (row - e);
      if (tap < 0 || tap >= kLength) continue;
      sum[e] += weight[tap] * value;
      if (kHasGradient) gradient[kFirst + tap] += map[e] * value;
    }
  }
}

// What a thread of the backward is in the phases that go down columns and along rows: in both it
// has its channel.
struct Thread {
  int role, number, channel;
};

}  // namespace scrn::depthwise::cuda
