#pragma once

// GELU over its own input: a tile's neighbours would find it overwritten. So the rows and columns
// on both sides of every border between tiles are put away first.

#include "tiles.cuh"

namespace scrn::depthwise::cuda {

// What is put away, 2 * radius rows or columns at a border: [B,C,borders,2r,W], then
// [B,C,borders,H,2r].
struct Borders {
  void* saved = nullptr;  // null: the output is not the input
  int64_t in_rows, in_columns;
  int32_t step, tile_width, radius;

  SCRN_HOST_DEVICE int64_t row_elements(const Borders& b, const UnitShape& s) {
    return s.batch * s.channels * b.in_rows * 2 * b.radius * s.width;
  }
  SCRN_HOST_DEVICE int64_t elements(const Borders& b, const UnitShape& s) {
    return row_elements(b, s) + s.batch * s.channels * b.in_columns * 2 * b.radius * s.height;
  }
};

// Which element has what is at row y, column x, at a border between rows: border i is above row
// (i + 1) * step.
SCRN_DEVICE int64_t saved_row(const Borders& b, const UnitShape& s, int64_t plane, int64_t border,
                              int64_t y, int64_t x) {
  const int64_t row = y - ((border + 1) * b.step - b.radius);
  return ((plane * b.in_rows + border) * 2 * b.radius + row) * s.width + x;
}
SCRN_DEVICE int64_t saved_column(const Borders& b, const UnitShape& s, int64_t plane,
                                 int64_t border, int64_t y, int64_t x) {
  const int64_t column = x - ((border + 1) * b.tile_width - b.radius);
  return Borders::row_elements(b, s) +
         ((plane * b.in_columns + border) * s.height + y) * 2 * b.radius + column;
}

struct BordersParams {
  UnitShape shape;
  Borders borders;
  int64_t total;          // elements to put away
  int64_t element_bytes;  // the bits alone matter
  const void* input;
};

static __global__ void __launch_bounds__(kThreads) save_borders_kernel(const BordersParams p) {
  const UnitShape& s = p.shape;
  const Borders& b = p.borders;
  const int64_t pixels = int64_t{s.height} * s.width;
  const int64_t in_rows = Borders::row_elements(b, s);
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < p.total;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    int64_t rest, y, x, plane, border, image, channel;
    if (i < in_rows) {
      split(i, s.width, rest, x);
      split(rest, 2 * b.radius, rest, y);
      split(rest, b.in_rows, plane, border);
      y += (border + 1) * b.step - b.radius;
    } else {
      split(i - in_rows, 2 * b.radius, rest, x);
      split(rest, s.height, rest, y);
      split(rest, b.in_columns, plane, border);
      x += (border + 1) * b.tile_width - b.radius;
    }
    if (y >= s.height || x >= s.width) continue;
    split(plane, s.channels, image, channel);
    const int64_t pixel = y * s.width + x;
    const int64_t from =
        s.channels_last ? (image * pixels + pixel) * s.channels + channel : plane * pixels + pixel;
    if (p.element_bytes == 8) {
      static_cast<uint64_t*>(b.saved)[i] = static_cast<const uint64_t*>(p.input)[from];
    } else if (p.element_bytes == 4) {
      static_cast<uint32_t*>(b.saved)[i] = static_cast<const uint32_t*>(p.input)[from];
    } else {
      static_cast<uint16_t*>(b.saved)[i] = static_cast<const uint16_t*>(p.input)[from];
    }
  }
}

// Fills what is around a tile of `step` rows from y0 on; in the image it comes from the borders.
template <int P, typename A, typename T>
SCRN_DEVICE void load_borders(const Planes<P, A>& target, const Borders& b, const UnitShape& s,
                              const Corner& corner, int64_t y0) {
  const int rows = b.step + 2 * b.radius;
  const T* const saved = static_cast<const T*>(b.saved);
  for (int e = threadIdx.x; e < P * rows * target.columns; e += kTileThreads) {
    const int column = e % target.columns, row = e / target.columns % rows;
    const int plane = e / target.columns / rows;
    const bool own_row = row >= b.radius && row < b.radius + b.step;
    const bool own_column = column >= b.radius && column < b.radius + b.tile_width;
    if (own_row && own_column) continue;
    const int64_t y = y0 - b.radius + row, x = corner.x0 - b.radius + column;
    A value = A(0);
    if (y >= 0 && y < s.height && x >= 0 && x < s.width && corner.channel + plane < s.channels) {
      const int64_t at = corner.image * s.channels + corner.channel + plane;
      const int64_t below = y0 / b.step, right = corner.x0 / b.tile_width;
      const int64_t from = own_row
                               ? saved_column(b, s, at, column < b.radius ? right - 1 : right, y, x)
                               : saved_row(b, s, at, row < b.radius ? below - 1 : below, y, x);
      value = static_cast<A>(widen(saved[from]));
    }
    *Planes<P, A>::at(target, plane, row, column) = value;
  }
}

}  // namespace scrn::depthwise::cuda
