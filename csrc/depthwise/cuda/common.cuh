#pragma once

// What the kernels of the family share: how the work is cut up, and how tiles come and go.
//
// A block has a tile: some neighbouring channels, some columns, and a chunk of the rows, down which
// it walks. In shared memory every channel is a plane of its own, whatever the layout of the maps.

#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/types.cuh"
#include "../params.h"

namespace scrn::depthwise::cuda {

using namespace scrn::cuda;

inline constexpr int kWarp = 32;

// Types of maps, and of weights, whose sums are held as A.
template <typename A>
using MapsOf = std::conditional_t<std::is_same_v<A, double>, Types<double>,
                                  Types<float, __half, __nv_bfloat16>>;
template <typename A>
using WeightsOf =
    std::conditional_t<std::is_same_v<A, double>, Types<float, double>, MapsOf<float>>;

// On the host: what f returns for a null pointer of the type in which such a map's sums are held.
template <typename F>
auto with_sums(DType dtype, F&& f) {
  return dtype == DType::kDouble ? f(static_cast<double*>(nullptr))
                                 : f(static_cast<float*>(nullptr));
}

// Elements from one image, channel, row and column of a map to the next.
struct Steps {
  int64_t image, channel, row, column;
};

inline Steps steps_of(const UnitShape& s) {
  const int64_t pixels = int64_t{s.height} * s.width;
  if (s.channels_last) return {s.channels * pixels, 1, s.width * s.channels, s.channels};
  return {s.channels * pixels, pixels, s.width, 1};
}

// The tiles of a launch.
struct Works {
  int64_t total, groups, tiles, chunks;
  int64_t parts;  // tiles of the same channels
  int64_t chunk_rows;
  bool groups_first;  // neighbouring blocks have neighbouring channels, not columns
};

// Tiles that keep the largest devices busy: with fewer, rows are cut into chunks.
inline constexpr int64_t kEnoughTiles = 384;

// The same on every device. Chunks have a multiple of 16 rows, so that any step divides them; none
// is so low that what neighbours compute twice would weigh.
inline Works works_of(const UnitShape& s, int group, int width) {
  constexpr int64_t kRows = 16, kLeast = 2 * kRows;
  Works works;
  works.groups = ceil_div(s.channels, group);
  works.tiles = ceil_div(s.width, width);
  const int64_t columns = std::max<int64_t>(1, s.batch * works.groups * works.tiles);
  const int64_t most = ceil_div(s.height, kLeast);
  const int64_t chunks = std::min(ceil_div(kEnoughTiles, columns), most);
  works.chunk_rows = ceil_div(ceil_div(s.height, chunks), kRows) * kRows;
  works.chunks = ceil_div(s.height, works.chunk_rows);
  works.parts = s.batch * works.chunks * works.tiles;
  works.total = works.groups * works.parts;
  works.groups_first = s.channels_last;
  return works;
}

struct Place {
  int64_t image, group, tile, chunk;
};

SCRN_DEVICE Place place_of(const Works& works, int64_t number) {
  Place place;
  int64_t rest;
  if (works.groups_first) {
    split(number, works.groups, rest, place.group);
    split(rest, works.tiles, rest, place.tile);
    split(rest, works.chunks, place.image, place.chunk);
  } else {
    split(number, works.tiles, rest, place.tile);
    split(rest, works.chunks, rest, place.chunk);
    split(rest, works.groups, place.image, place.group);
  }
  return place;
}

// The number of a tile among those of its channels.
SCRN_DEVICE int64_t part_of(const Works& works, const Place& place) {
  return (place.image * works.chunks + place.chunk) * works.tiles + place.tile;
}

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

// Those channels of a group that there are.
SCRN_DEVICE int channels_of(const UnitShape& s, const Place& place, int group) {
  return static_cast<int>(min_of(group, s.channels - place.group * group));
}

// A block's channels of one image.
template <typename T>
struct View {
  T* data;
  Steps steps;
  int channels;  // of the group, those that there are
  int height, width;
  bool channels_last;

  SCRN_DEVICE View of(T* map, const Steps& steps, const UnitShape& s, const Place& place,
                      int group) {
    const int64_t first = place.group * group;
    return {map + place.image * steps.image + first * steps.channel,
            steps,
            channels_of(s, place, group),
            s.height,
            s.width,
            steps.column != 1};
  }
};

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
      map.channels_last, [&](int c, int row, int column, int step) {
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
  for_lines<kGroup, kBlock, kRows, 2>(map.channels_last, [&](int c, int row, int column, int step) {
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

// More than the 48 KiB that every kernel may have takes asking; 99 KiB are there on every device.
// As much as the blocks can use that registers leave room for, at the expense of the L1 cache: by
// default the driver may leave room for fewer.
template <typename Kernel>
int take_shared(Kernel* kernel, int bytes) {
  constexpr int kWithoutAsking = 48 << 10;
  const void* const function = reinterpret_cast<const void*>(kernel);
  if (bytes > kWithoutAsking) {
    const int error =
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != 0) return error;
  }
  return cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout,
                              cudaSharedmemCarveoutMaxShared);
}

}  // namespace scrn::depthwise::cuda
