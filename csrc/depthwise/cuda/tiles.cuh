#pragma once

// What the kernels with tiles in shared memory share. A block computes a tile of P planes: one
// channel of a map, or channels that are neighbours in channels_last. In shared memory every plane
// is on its own, in the accumulate type, and zero outside of the image: the convolutions know
// neither layout nor element type nor borders.

#include "common.cuh"

namespace scrn::depthwise::cuda {

inline constexpr int kTileThreads = 256;
inline constexpr int kTileWarps = kTileThreads / kWarp;
template <int P>
inline constexpr int kWarpsOfPlane = kTileWarps / P;

// Which part of the maps a block computes at a time. Neighbours in memory are neighbours in the
// grid: they share cache lines.
struct Work {
  int64_t columns, bands, groups, total;  // tiles in a row and in a column; groups of planes
  int64_t tiles;                          // that add to the gradient of a channel's weights
  int64_t rows;                           // of a band
  int32_t width;                          // of a tile
  bool groups_first;
};

struct Tiling {
  int planes, width, step;  // of a tile: channels, columns, and rows that are computed at a time
};

// A band is a number of steps that a block takes one after the other: as few as leave so many
// blocks, but no more than `most`.
inline Work work_of(const UnitShape& s, const Tiling& tiling, int64_t blocks, int64_t most) {
  Work work;
  work.columns = ceil_div(s.width, tiling.width);
  work.groups = ceil_div(s.channels, tiling.planes);
  const int64_t steps = ceil_div(s.height, tiling.step);
  const int64_t columns = std::max<int64_t>(1, s.batch * work.groups * work.columns);
  const int64_t wanted = ceil_div(blocks, columns);
  const int64_t bands = std::min(steps, std::max(wanted, ceil_div(steps, most)));
  work.rows = ceil_div(steps, bands) * tiling.step;
  work.bands = ceil_div(s.height, work.rows);
  work.tiles = s.batch * work.columns * work.bands;
  work.total = work.tiles * work.groups;
  work.width = tiling.width;
  work.groups_first = s.channels_last;
  return work;
}

struct Corner {
  int64_t image, channel, tile;  // the first channel; the tile's number among the channel's
  int64_t x0, y0, y1;
};

SCRN_DEVICE Corner corner_of(const Work& work, int64_t index, int planes, int64_t height) {
  int64_t rest = index, group = 0, column, band;
  if (work.groups_first) split(rest, work.groups, rest, group);
  split(rest, work.columns, rest, column);
  split(rest, work.bands, rest, band);
  if (!work.groups_first) split(rest, work.groups, rest, group);
  const int64_t y0 = band * work.rows;
  return {rest,
          group * planes,
          (rest * work.bands + band) * work.columns + column,
          column * work.width,
          y0,
          min_of(y0 + work.rows, height)};
}

// A tile's channels of a map in global memory.
template <typename T>
struct Channels {
  T* first;
  int64_t plane_step, column_step, height, width;
  int count;
};

// P > 1 is channels_last, and kDense is NCHW, which the compiler then knows.
template <int P, bool kDense, typename T, typename Pointer>
SCRN_DEVICE auto channels_of(const UnitShape& s, Pointer map, const Corner& corner) {
  using Element = std::conditional_t<std::is_same_v<Pointer, const void*>, const T, T>;
  const int64_t pixels = int64_t{s.height} * s.width;
  const bool planes_are_neighbours = P > 1 || (!kDense && s.channels_last);
  Channels<Element> c;
  c.plane_step = planes_are_neighbours ? 1 : pixels;
  c.column_step = planes_are_neighbours ? s.channels : 1;
  c.height = s.height;
  c.width = s.width;
  c.count = static_cast<int>(min_of(P, s.channels - corner.channel));
  c.first = static_cast<Element*>(map) + corner.image * s.channels * pixels +
            corner.channel * c.plane_step;
  return c;
}

// Rows of P planes in shared memory.
template <int P, typename A>
struct Planes {
  A* data;
  int columns, pitch, plane_pitch;

  SCRN_DEVICE A* at(const Planes& p, int plane, int row, int column) {
    return p.data + plane * p.plane_pitch + row * p.pitch + column;
  }
};

// Elements from plane to plane, for at least so many of them: where a warp reads or writes one
// column after the other of all P planes, no two lanes meet in a bank.
template <int P>
SCRN_HOST_DEVICE constexpr int plane_pitch_of(int elements) {
  if (P == 1) return elements;
  return (elements + kWarp - 1 - kWarp / P) / kWarp * kWarp + kWarp / P;
}

// Row 0 of `target` is row y0, its column 0 column x0 of the image. A warp takes whole rows, so
// that addresses are computed once for several columns.
template <int P, typename A, typename T>
SCRN_DEVICE void load_rows(const Planes<P, A>& target, int rows, const Channels<const T>& from,
                           int64_t y0, int64_t x0) {
  constexpr int kStride = kWarp / P, kRows = P == 1 ? 2 : 1, kColumns = P == 1 ? 3 : 7;
  const int plane = threadIdx.x % kWarp % P, first = threadIdx.x % kWarp / P;
  for (int row = threadIdx.x / kWarp * kRows; row < rows; row += kTileWarps * kRows) {
    for (int base = first; base < target.columns; base += kColumns * kStride) {
      const int64_t x = x0 + base;
      A value[kRows][kColumns];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int64_t y = y0 + row + r;
        const bool has_row =
            row + r < rows && y >= 0 && y < from.height && (P == 1 || plane < from.count);
        const T* const line =
            from.first + plane * from.plane_step + (y * from.width + x) * from.column_step;
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const bool has = has_row && base + c * kStride < target.columns && x + c * kStride >= 0 &&
                           x + c * kStride < from.width;
          value[r][c] = has ? static_cast<A>(widen(line[c * kStride * from.column_step])) : A(0);
        }
      }
      A* const to = Planes<P, A>::at(target, plane, row, base);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          if (row + r < rows && base + c * kStride < target.columns) {
            to[r * target.pitch + c * kStride] = value[r][c];
          }
        }
      }
    }
  }
}

// Where a warp's outputs lie in a tile: N rows, `step` apart, of 32 columns.
struct Spot {
  int row, step, column;
};

// Whether a warp has nothing in the image.
SCRN_DEVICE bool is_outside(const Spot& spot, const UnitShape& s, const Corner& corner,
                            int64_t y0) {
  return y0 + spot.row >= s.height || corner.x0 + spot.column >= s.width;
}

// Staging: the outputs of a round of all warps, on their way between channels_last memory, where
// threads take neighbouring channels, and warps of one plane each. There are two in turn: then one
// barrier a round will do.
template <int P, int N>
inline constexpr int kStagedWarp = N * kWarp + kWarp / kTileWarps;
template <int P, int N>
inline constexpr int kStaging = P == 1 ? 0 : 2 * kTileWarps * kStagedWarp<P, N>;

// Calls f(element of the staging, channel, y, x) for what a round of warps has, in the image or
// not.
template <int P, int N, typename F, typename SpotOf>
SCRN_DEVICE void for_staged(int round, int tasks, const Corner& corner, int64_t y0,
                            SpotOf&& spot_of, F&& f) {
  constexpr int kWarps = kWarpsOfPlane<P>;
  const int plane = threadIdx.x % P, column = threadIdx.x / P % kWarp;
#pragma unroll 4
  for (int i = 0; i < N; ++i) {
    const int line = i * kWarps + static_cast<int>(threadIdx.x) / (P * kWarp);
    const int slot = line / N, row = line % N, task = round * kWarps + slot;
    if (task >= tasks) continue;
    const Spot spot = spot_of(task);
    f((plane * kWarps + slot) * kStagedWarp<P, N> + row * kWarp + column, plane,
      y0 + spot.row + row * spot.step, corner.x0 + spot.column + column);
  }
}

}  // namespace scrn::depthwise::cuda
