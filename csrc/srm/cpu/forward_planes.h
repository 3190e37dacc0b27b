#pragma once

// The forward in NCHW. A task is a tile of output pixels. The part of the input that the tile
// reads, its window, is transposed to [pixel][channel] scratch memory, a slab of channels at a
// time; results are computed there and transposed back.

#include "../../common/cpu/transpose.h"
#include "forward.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

constexpr int kForwardSlab = 32;
constexpr int64_t kWindowBytes = 256 * 1024;
// The pattern of a pixel whose taps are not all in the window.
constexpr int kFar = 16;
// Keeps the scratch planes off each other's cache sets.
constexpr int64_t kPlanePadding = 16;

struct Range {
  int64_t begin, end;
};

// The part of [low, high] that `capacity` indices around `centre` cover.
SCRN_INLINE Range covered(int64_t low, int64_t high, int64_t centre, int64_t capacity) {
  Range range = {low, high + 1};
  if (range.end - range.begin > capacity) {
    range.begin = centre - capacity / 2;
    if (range.begin < low) range.begin = low;
    if (range.begin > high + 1 - capacity) range.begin = high + 1 - capacity;
    range.end = range.begin + capacity;
  }
  return range;
}

struct InputWindow {
  Range y, x;
};

template <typename A>
struct Tile {
  int64_t b, y0, x0;
  int rows, columns, chunks;  // chunks per row
  ForwardTaps<A>* taps;       // [rows][chunks]
  PatternOrder* orders;
  int group;  // rows whose results are written together

  int chunk_size(int chunk) const {
    const int left = columns - chunk * kChunk;
    return left < kChunk ? left : kChunk;
  }
};

template <typename A>
struct TileMemory {
  A* window;  // [pixel][slab], of kWindowBytes
  A* pixels;  // [kChunk][slab]
  A* planes;  // [slab][group * columns + kPlanePadding]
};

// The input that the tile reads, cut to the capacity of the scratch memory; pixels that read
// beyond it are marked far.
template <typename A>
InputWindow choose_window(const SampleShape& shape, const Tile<A>& tile) {
  int32_t low_y = INT32_MAX, high_y = -1, low_x = INT32_MAX, high_x = -1;
  int64_t sum_y = 0, sum_x = 0, inside = 0;
  for (int t = 0; t < tile.rows * tile.chunks; ++t) {
    const ForwardTaps<A>& taps = tile.taps[t];
    const int count = tile.chunk_size(t % tile.chunks);
    for (int i = 0; i < count; ++i) {
      if (taps.pattern[i] == 0) continue;
      const int32_t y = taps.y[i], x = taps.x[i];
      low_y = y < low_y ? y : low_y;
      high_y = y > high_y ? y : high_y;
      low_x = x < low_x ? x : low_x;
      high_x = x > high_x ? x : high_x;
      sum_y += y;
      sum_x += x;
      ++inside;
    }
  }
  if (inside == 0) return {{0, 0}, {0, 0}};
  // A tap that counts never lies beyond the border.
  const int64_t last_y = high_y + 2 < shape.in_h ? high_y + 2 : shape.in_h - 1;
  const int64_t last_x = high_x + 2 < shape.in_w ? high_x + 2 : shape.in_w - 1;
  const int64_t capacity = kWindowBytes / (static_cast<int64_t>(sizeof(A)) * kForwardSlab);
  int64_t columns = last_x - low_x + 1, rows = last_y - low_y + 1;
  if (columns * rows > capacity) {
    const int64_t usual = 2 * (tile.columns + kBlock);
    columns = columns < usual ? columns : usual;
    columns = columns < capacity ? columns : capacity;
    rows = capacity / columns;
  }
  const InputWindow window = {covered(low_y, last_y, sum_y / inside + 1, rows),
                              covered(low_x, last_x, sum_x / inside + 1, columns)};
  if (window.y.end - window.y.begin <= last_y - low_y ||
      window.x.end - window.x.begin <= last_x - low_x) {
    for (int t = 0; t < tile.rows * tile.chunks; ++t) {
      ForwardTaps<A>& taps = tile.taps[t];
      const int count = tile.chunk_size(t % tile.chunks);
      for (int i = 0; i < count; ++i) {
        const bool near = taps.y[i] >= window.y.begin && taps.x[i] >= window.x.begin &&
                          taps.y[i] + (taps.pattern[i] >> 2) <= window.y.end &&
                          taps.x[i] + (taps.pattern[i] & 3) <= window.x.end;
        if (!near && taps.pattern[i] != 0) taps.pattern[i] = kFar;
      }
    }
  }
  return window;
}

template <typename S, typename A>
void sample_far_pixel(const SampleShape& shape, const S* input, const ForwardTaps<A>& taps, int i,
                      int channels, A* result) {
  const int64_t width = shape.in_w, plane = width * shape.in_h;
  const S* first = input + taps.y[i] * width + taps.x[i];
  for (int c = 0; c < channels; ++c) {
    A sum = 0;
    for (int k = 0; k < 9; ++k) {
      // A tap without weight may lie beyond the border.
      const A weight = taps.weight[k][i];
      if (weight != 0) sum += widen(first[c * plane + k / 3 * width + k % 3]) * weight;
    }
    result[c] = sum;
  }
}

// What a chunk's results will be added to, from its first pixel and channel on.
template <typename S>
struct Ahead {
  const S* skip;
  int64_t plane;
};
// Asks for a pixel's share of the lines, those of all planes side by side, so that a shorter
// chunk's pixels ask for what it needs. Their way from memory then passes beside the sums instead
// of before the addition. In the last slab some of the planes do not exist: asking is harmless.
template <int kSlab, typename S>
SCRN_INLINE void request_skip(const Ahead<S>& ahead, unsigned pixel) {
  constexpr unsigned kLine = 64 / sizeof(S), kLines = kChunk / kLine;
  constexpr unsigned kEach = (kSlab * kLines + kChunk - 1) / kChunk;
  for (unsigned j = 0; j < kEach; ++j) {
    const unsigned line = pixel * kEach + j;
    const int64_t at = line % kSlab * ahead.plane + line / kSlab * kLine;
    __builtin_prefetch(ahead.skip + at, 0, 2);
  }
}

// All taps of a pixel in the window; the slab's width and with it all distances between
// columns are constants.
template <int kRows, int kColumns, int kSlab, typename A>
SCRN_INLINE void sample_window_pixel(const A* base, ptrdiff_t row, const A* weight, A* result) {
  constexpr int kVecs = kSlab / kLanes<A>;
  Value<A> sum[kVecs] = {};
  for (int r = 0; r < kRows; ++r) {
    const A* first = pinned(base + r * row);
    for (int s = 0; s < kColumns; ++s) {
      const Value<A> w = broadcast<A>(weight[(r * 3 + s) * kChunk]);
      for (int v = 0; v < kVecs; ++v) {
        sum[v] = fma(load(first + s * kSlab + v * kLanes<A>), w, sum[v]);
      }
    }
  }
  result = pinned(result);
  for (int v = 0; v < kVecs; ++v) store(result + v * kLanes<A>, sum[v]);
}

// `ahead` by value: through a reference the stores of the sums make gcc read it for every pixel.
template <int kSlab, typename S, typename A>
void sample_chunk(const SampleShape& shape, const InputWindow& window, const ForwardTaps<A>& taps,
                  const PatternOrder& order, const S* input, int channels, const A* scratch,
                  Ahead<S> ahead, A* result) {
  const ptrdiff_t row = (window.x.end - window.x.begin) * kSlab;
  const A* origin = scratch - window.y.begin * row - window.x.begin * kSlab;
  for (int n = order.start[0]; n < order.start[1]; ++n) {
    memset(result + order.pixel[n] * kSlab, 0, sizeof(A) * kSlab);
  }
  for_each_pattern([&](auto rows, auto columns) __attribute__((always_inline)) {
    constexpr int kPattern = rows.value * 4 + columns.value;
    for (int n = order.start[kPattern]; n < order.start[kPattern + 1]; ++n) {
      const int i = order.pixel[n];
      request_skip<kSlab>(ahead, n);
      const A* base = origin + taps.y[i] * row + static_cast<ptrdiff_t>(taps.x[i]) * kSlab;
      sample_window_pixel<rows.value, columns.value, kSlab>(base, row, &taps.weight[0][i],
                                                            result + i * kSlab);
    }
  });
  for (int n = order.start[kFar]; n < order.start[kFar + 1]; ++n) {
    const int i = order.pixel[n];
    sample_far_pixel<S, A>(shape, input, taps, i, channels, result + i * kSlab);
  }
}

// Rows y .. y + rows - 1 of the tile from scratch planes to the output.
template <bool kSkip, typename S, typename A>
void write_rows(const ForwardPlan& plan, const Tile<A>& tile, int y, int rows, int64_t c0,
                int channels, const A* planes, int64_t plane) {
  const SampleShape& shape = plan.params.shape;
  const int64_t out_plane = static_cast<int64_t>(shape.out_h) * shape.out_w;
  // Whole runs of each plane at a time: at the usual sizes planes lie a multiple of the caches'
  // set period apart, so that one line of each would evict the others.
  const bool joined = tile.columns == shape.out_w;
  const int count = joined ? rows * tile.columns : tile.columns;
  for (int c = 0; c < channels; ++c) {
    for (int r = 0; r < (joined ? 1 : rows); ++r) {
      const int64_t at = (tile.b * shape.channels + c0 + c) * out_plane +
                         (tile.y0 + y + r) * shape.out_w + tile.x0;
      const S* skip = kSkip ? static_cast<const S*>(plan.params.skip) + at : nullptr;
      write_row<kSkip>(planes + c * plane + r * tile.columns, skip, count,
                       static_cast<S*>(plan.params.output) + at, out_plane, plan.streams);
    }
  }
}

template <int kSlab, typename S, typename A>
void sample_tile_slab(const ForwardPlan& plan, const Tile<A>& tile, const InputWindow& window,
                      int64_t c0, int channels, const TileMemory<A>& memory) {
  const SampleShape& shape = plan.params.shape;
  const int64_t in_plane = static_cast<int64_t>(shape.in_h) * shape.in_w;
  const S* input =
      static_cast<const S*>(plan.params.input) + (tile.b * shape.channels + c0) * in_plane;
  const int64_t columns = window.x.end - window.x.begin;
  if (columns == shape.in_w) {
    planes_to_pixels<kSlab>(input + window.y.begin * columns, in_plane, channels,
                            (window.y.end - window.y.begin) * columns, memory.window);
  } else {
    for (int64_t y = window.y.begin; y < window.y.end; ++y) {
      planes_to_pixels<kSlab>(input + y * shape.in_w + window.x.begin, in_plane, channels, columns,
                              memory.window + (y - window.y.begin) * columns * kSlab);
    }
  }
  const int64_t out_plane = static_cast<int64_t>(shape.out_h) * shape.out_w;
  const S* skip = static_cast<const S*>(plan.params.skip);
  const int64_t plane = tile.group * tile.columns + kPlanePadding;
  for (int y = 0; y < tile.rows; y += tile.group) {
    const int rows = tile.rows - y < tile.group ? tile.rows - y : tile.group;
    // Down before right: the window's columns of a chunk stay in the L1 cache.
    for (int chunk = 0; chunk < tile.chunks; ++chunk) {
      const int count = tile.chunk_size(chunk);
      for (int r = 0; r < rows; ++r) {
        const int64_t at = (tile.b * shape.channels + c0) * out_plane +
                           (tile.y0 + y + r) * shape.out_w + tile.x0 + chunk * kChunk;
        // Without a skip lines that are near: a branch for each pixel would cost more.
        const Ahead<S> ahead =
            skip == nullptr ? Ahead<S>{input, 0} : Ahead<S>{skip + at, out_plane};
        sample_chunk<kSlab>(shape, window, tile.taps[(y + r) * tile.chunks + chunk],
                            tile.orders[(y + r) * tile.chunks + chunk], input, channels,
                            memory.window, ahead, memory.pixels);
        pixels_to_planes(memory.pixels, kSlab, kSlab, count,
                         memory.planes + r * tile.columns + chunk * kChunk, plane);
      }
    }
    const auto write =
        plan.params.skip != nullptr ? write_rows<true, S, A> : write_rows<false, S, A>;
    write(plan, tile, y, rows, c0, channels, memory.planes, plane);
  }
}

template <typename S, typename A>
void sample_tiles_planes(const ForwardPlan& plan, int64_t begin, int64_t end) {
  const SampleShape& shape = plan.params.shape;
  const int64_t tiles_y = (shape.out_h + plan.tile_h - 1) / plan.tile_h;
  const int64_t tiles_x = (shape.out_w + plan.tile_w - 1) / plan.tile_w;
  const int most_chunks = (plan.tile_w + kChunk - 1) / kChunk;
  const size_t most = static_cast<size_t>(plan.tile_h) * most_chunks;
  const size_t taps_bytes = sizeof(ForwardTaps<A>) * most;
  const size_t orders_bytes = (sizeof(PatternOrder) * most + 63) / 64 * 64;
  const int64_t counts[] = {kWindowBytes / static_cast<int64_t>(sizeof(A)),
                            static_cast<int64_t>(kChunk) * kForwardSlab,
                            (plan.group_h * plan.tile_w + kPlanePadding) * kForwardSlab};
  char* bytes = static_cast<char*>(
      thread_scratch(taps_bytes + orders_bytes + sizeof(A) * (counts[0] + counts[1] + counts[2])));
  Tile<A> tile;
  tile.group = plan.group_h;
  tile.taps = reinterpret_cast<ForwardTaps<A>*>(bytes);
  tile.orders = reinterpret_cast<PatternOrder*>(bytes + taps_bytes);
  TileMemory<A> memory;
  memory.window = reinterpret_cast<A*>(bytes + taps_bytes + orders_bytes);
  memory.pixels = memory.window + counts[0];
  memory.planes = memory.pixels + counts[1];
  for (int64_t task = begin; task < end; ++task) {
    tile.b = task / (tiles_y * tiles_x);
    tile.y0 = task / tiles_x % tiles_y * plan.tile_h;
    tile.x0 = task % tiles_x * plan.tile_w;
    tile.rows =
        static_cast<int>(shape.out_h - tile.y0 < plan.tile_h ? shape.out_h - tile.y0 : plan.tile_h);
    tile.columns =
        static_cast<int>(shape.out_w - tile.x0 < plan.tile_w ? shape.out_w - tile.x0 : plan.tile_w);
    tile.chunks = (tile.columns + kChunk - 1) / kChunk;
    for (int t = 0; t < tile.rows * tile.chunks; ++t) {
      const int chunk = t % tile.chunks;
      locate_chunk<A>(plan, tile.b, tile.y0 + t / tile.chunks, tile.x0 + chunk * kChunk,
                      tile.chunk_size(chunk), tile.taps[t]);
    }
    const InputWindow window = choose_window(shape, tile);
    for (int t = 0; t < tile.rows * tile.chunks; ++t) {
      order_by_pattern(tile.taps[t].pattern, tile.chunk_size(t % tile.chunks), tile.orders[t]);
    }
    int64_t c0 = 0;
    while (c0 < shape.channels) {
      const int left =
          static_cast<int>(shape.channels - c0 < kForwardSlab ? shape.channels - c0 : kForwardSlab);
      if (left > 16) {
        sample_tile_slab<32, S>(plan, tile, window, c0, left, memory);
      } else {
        sample_tile_slab<16, S>(plan, tile, window, c0, left, memory);
      }
      c0 += left;
    }
  }
  fence_streams();
}

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
