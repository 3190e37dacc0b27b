#pragma once

// How the multi-scale unit's tiles come and go. In shared memory every channel has rows of its own,
// whatever the layout of the maps, in rings: a tile walks down the map, and the rows that come take
// the place of those that are done with. Rows begin at 16 bytes, for accesses of that size. The
// other units' tiles (tiles.cuh) are planes that are filled anew: theirs are read element by
// element, and neither wrapping round nor gaps would serve them.

#include "common.cuh"

namespace scrn::depthwise::cuda {

// Shared memory has 32 banks. Threads that read eight neighbouring rows, 16 bytes each, share none
// at this distance from row to row; threads that write eight columns of four planes at that from
// plane to plane.
SCRN_HOST_DEVICE constexpr int row_pitch(int columns) {
  return columns / 4 % 2 == 1 ? columns : columns + 4;
}
SCRN_HOST_DEVICE constexpr int plane_pitch(int elements) {
  return elements + (40 - elements % 32) % 32;
}

// 16-byte accesses of shared memory; both ends are multiples of 16 bytes.
template <int V, typename A>
SCRN_DEVICE void load_row(A (&to)[V], const A* from) {
  constexpr int kEach = kVector<A>;
  static_assert(V % kEach == 0, "whole accesses");
#pragma unroll
  for (int v = 0; v < V; v += kEach) {
    A part[kEach];
    unpack<A>(load_packed<kEach>(from + v), part);
#pragma unroll
    for (int e = 0; e < kEach; ++e) to[v + e] = part[e];
  }
}

// Elements [first, end) of `from` to there.
template <int V, typename A>
SCRN_DEVICE void store_row(A* to, const A (&from)[V], int first = 0, int end = V) {
  constexpr int kEach = kVector<A>;
  static_assert(V % kEach == 0, "whole accesses");
#pragma unroll
  for (int v = 0; v < V; v += kEach) {
    A part[kEach];
#pragma unroll
    for (int e = 0; e < kEach; ++e) part[e] = from[v + e];
    if (v >= first && v < end) *reinterpret_cast<Packed<A>*>(to + v) = pack<A>(part);
  }
}

// The indices i of a tile, of [0, count), for which first + i is within [0, size).
struct Inside {
  int begin, end;

  SCRN_DEVICE Inside of(int64_t first, int count, int64_t size) {
    const int64_t begin = first < 0 ? -first : 0, end = size - first;
    return {static_cast<int>(begin < count ? begin : count),
            static_cast<int>(end < 0 ? 0 : min_of(end, count))};
  }
};

SCRN_DEVICE bool has(const Inside& inside, int i) { return i >= inside.begin && i < inside.end; }

// Where rows of a tile are in shared memory: row i of channel c lies at data + c * plane +
// ((slot + i) % ring) * pitch.
template <typename A>
struct Rows {
  A* data;
  int plane, pitch, slot, ring;
};

template <typename A>
SCRN_DEVICE A* row_of(const Rows<A>& rows, int c, int i) {
  const int row = rows.slot + i;
  return rows.data + c * rows.plane + (row < rows.ring ? row : row - rows.ring) * rows.pitch;
}

// Calls f(channel, row, column, columns to the next) for the lines of a tile, each of which a warp
// has: threads are neighbours in the map. The loads of so many lines are under way together.
template <int kGroup, int kBlock, int kRows, int kTogether, typename F>
SCRN_DEVICE void for_lines(bool channels_last, F&& f) {
  constexpr int kWarps = kBlock / kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (kGroup > 1 && channels_last) {
    constexpr int kTurns = (kRows + kWarps - 1) / kWarps;
#pragma unroll(kTurns < kTogether ? kTurns : kTogether)
    for (int turn = 0; turn < kTurns; ++turn) {
      const int row = warp + turn * kWarps;
      if (row < kRows) f(lane % kGroup, row, lane / kGroup, kWarp / kGroup);
    }
  } else {
    constexpr int kTurns = (kRows * kGroup + kWarps - 1) / kWarps;
#pragma unroll(kTurns < kTogether ? kTurns : kTogether)
    for (int turn = 0; turn < kTurns; ++turn) {
      const int line = warp + turn * kWarps;
      if (line < kRows * kGroup) f(line / kRows, line % kRows, lane, kWarp);
    }
  }
}

// Rows from first_row on and columns from first_column on, zero outside of the map.
template <int kGroup, int kBlock, int kRows, int kColumns, int kTogether, typename T, typename A>
SCRN_DEVICE void load_tile(const View<const T>& map, int64_t first_row, int64_t first_column,
                           const Rows<A>& to) {
  const Inside across = Inside::of(first_column, kColumns, map.width);
  const Inside down = Inside::of(first_row, kRows, map.height);
  for_lines<kGroup, kBlock, kRows, kTogether>(
      map.steps.column != 1, [&](int c, int row, int column, int step) {
        const bool inside = c < map.channels && has(down, row);
        const T* const from = map.data + c * map.steps.channel + (first_row + row) * map.steps.row +
                              first_column * map.steps.column;
        A* const line = row_of(to, c, row);
#pragma unroll
        for (int x = column; x < kColumns; x += step) {
          line[x] = inside && has(across, x) ? widen(from[x * map.steps.column]) : A(0);
        }
      });
}

// The reverse: rows [begin, end) of the tile, and what of them lies in the map's columns. `from`
// has kParts maps that are added up, `apart` elements from one to the next.
template <int kGroup, int kBlock, int kRows, int kColumns, int kParts = 1, typename T, typename A>
SCRN_DEVICE void store_tile(const View<T>& map, int64_t first_row, int begin, int end,
                            int64_t first_column, const Rows<A>& from, int apart = 0) {
  const Inside across = Inside::of(first_column, kColumns, map.width);
  for_lines<kGroup, kBlock, kRows, 2>(
      map.steps.column != 1, [&](int c, int row, int column, int step) {
        if (c >= map.channels || row < begin || row >= end) return;
        T* const to = map.data + c * map.steps.channel + (first_row + row) * map.steps.row +
                      first_column * map.steps.column;
        const A* const line = row_of(from, c, row);
#pragma unroll
        for (int x = column; x < kColumns; x += step) {
          A sum = line[x];
#pragma unroll
          for (int part = 1; part < kParts; ++part) sum += line[part * apart + x];
          if (has(across, x)) to[x * map.steps.column] = narrow<T>(sum);
        }
      });
}

}  // namespace scrn::depthwise::cuda
