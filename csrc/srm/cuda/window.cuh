#pragma once

// The 3x3 window of cells that a thread of the channels_last backward takes along, and what one
// pixel does to it.

#include "../../common/cuda/held_channels.cuh"

namespace scrn::srm::cuda {

// Four channels to a thread: what a pixel costs besides its sums is shared by them, and the windows
// still fit into registers three times on a multiprocessor. With two, half as many sums would stand
// against the same taps, tests and addresses.
template <typename T>
inline constexpr int kWindowVector = std::is_same_v<T, double> ? 2 : 4;

// Cell (y, x) of the input lives at [y % 3][x % 3], so that nothing has to be shifted when the
// window moves; the taps in shared memory are turned alike.
template <typename T, typename Index>
struct Window {
  using A = Accumulate<T>;
  A grad[3][3][kWindowVector<T>];
  A value[3][3][kWindowVector<T>];
  Index row[3];  // first element of the row that lives at each place
  int y, x;      // the window's first cell, as in Taps
};

// What a window stands on. A null pointer says that this gradient is not wanted, or the input not
// needed.
template <typename T, typename Index>
struct WindowMaps {
  const T* input;
  Accumulate<T>* grad_input;
  int in_h, in_w;
  Index channels;
};

// Adds cells of the window that have left it to grad_input: the column at place q, whose cells lie
// at x, of it the rows that `leaving` names.
template <typename T, typename Index>
SCRN_DEVICE void add_column(Window<T, Index>& window, int q, int x, int leaving,
                            const WindowMaps<T, Index>& maps,
                            const HeldChannels<T, kWindowVector<T>, Index>& held) {
  Accumulate<T>* const column = maps.grad_input + at_most(x, maps.in_w - 1) * maps.channels;
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    if ((leaving >> r & 1) == 0) continue;
    add_held(column + window.row[r], held, window.grad[r][q]);
#pragma unroll
    for (int e = 0; e < kWindowVector<T>; ++e) window.grad[r][q][e] = 0;
  }
}

template <typename T, typename Index>
SCRN_DEVICE void load_column(Window<T, Index>& window, int q, int x, int entering,
                             const WindowMaps<T, Index>& maps,
                             const HeldChannels<T, kWindowVector<T>, Index>& held) {
  const T* const column = maps.input + at_most(x, maps.in_w - 1) * maps.channels;
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    if ((entering >> r & 1) == 0) continue;
    unpack<T>(load_held(column + window.row[r], held), window.value[r][q]);
  }
}

// The cells of an empty window are zero, and what is zero is not added.
template <typename T, typename Index>
SCRN_DEVICE void move_window(Window<T, Index>& window, int y, int x,
                             const WindowMaps<T, Index>& maps,
                             const HeldChannels<T, kWindowVector<T>, Index>& held) {
  int rows = 0, columns = 0;  // whose cells change
  if (y != window.y) {
#pragma unroll
    for (int r = 0; r < 3; ++r) rows |= cell_at(window.y, r) != cell_at(y, r) ? 1 << r : 0;
  }
#pragma unroll
  for (int q = 0; q < 3; ++q) columns |= cell_at(window.x, q) != cell_at(x, q) ? 1 << q : 0;
  if (maps.grad_input != nullptr) {
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      const int leaving = (columns >> q & 1) != 0 ? 7 : rows;
      if (leaving != 0) add_column(window, q, cell_at(window.x, q), leaving, maps, held);
    }
  }
  if (rows != 0) {
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      const Index row = static_cast<Index>(at_most(cell_at(y, r), maps.in_h - 1)) * maps.in_w;
      window.row[r] = row * maps.channels;
    }
  }
  if (maps.input != nullptr) {
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      const int entering = (columns >> q & 1) != 0 ? 7 : rows;
      if (entering != 0) load_column(window, q, cell_at(x, q), entering, maps, held);
    }
  }
  window.y = y;
  window.x = x;
}

template <typename T, typename Index>
SCRN_DEVICE void empty_window(Window<T, Index>& window, const WindowMaps<T, Index>& maps,
                              const HeldChannels<T, kWindowVector<T>, Index>& held) {
  if (maps.grad_input != nullptr) {
#pragma unroll
    for (int q = 0; q < 3; ++q) add_column(window, q, cell_at(window.x, q), 7, maps, held);
  }
  window.y = window.x = kEmptyWindow;
}

// The taps of one pixel, x before y; what decides about the window's move lies together.
template <typename A>
struct alignas(16) PixelTaps {
  int32_t first[2];   // -1: the point is outside
  int32_t active[2];  // as in TapSlopes; from bit 3 on the cells that the window may lie before it
  A weight[2][3];
  A slope[2][3];
};

template <typename A>
SCRN_DEVICE void keep_turned(const Taps<A>& taps, int dim, PixelTaps<A>& kept) {
  int32_t active = 0;
  int place = taps.first % 3;
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    kept.weight[dim][place] = taps.weight[r];
    kept.slope[dim][place] = taps.slope[r];
    if (taps.weight[r] != A(0) || taps.slope[r] != A(0)) {
      active |= 1 << place;
    } else if (r == 2) {
      active |= 1 << 3;  // the first two taps fit into a window that begins a cell before them, too
    }
    place = place < 2 ? place + 1 : 0;
  }
  kept.first[dim] = (active & 7) != 0 ? taps.first : -1;
  kept.active[dim] = active;
}

// Whether all taps that take part lie in the window that begins at `begin`.
SCRN_DEVICE bool covers(int begin, int first, int active) {
  return static_cast<uint32_t>(first - begin) <= static_cast<uint32_t>(active >> 3);
}

// Zero for what is finite, else NaN.
template <typename A, int V>
SCRN_DEVICE A not_finite(const A (&u)[V]) {
  A sum = u[0] - u[0];
#pragma unroll
  for (int e = 1; e < V; ++e) sum += u[e] - u[e];
  return sum;
}

template <typename T, typename Index>
SCRN_DEVICE Index element_of(const WindowMaps<T, Index>& maps, int y, int x) {
  const Index row = static_cast<Index>(at_most(y, maps.in_h - 1)) * maps.in_w;
  return (row + at_most(x, maps.in_w - 1)) * maps.channels;
}

// Adds one pixel's part to the window's gradient. Taps that take no part have weight 0, which does
// no harm unless u is not finite: then only those that do take part go to memory, tap by tap.
template <typename T, typename Index, typename A, int V>
SCRN_DEVICE void spread(Window<T, Index>& window, const PixelTaps<A>& taps, const A (&u)[V],
                        const WindowMaps<T, Index>& maps, const HeldChannels<T, V, Index>& held) {
  if (not_finite(u) == A(0)) {
#pragma unroll
    for (int r = 0; r < 3; ++r) {
#pragma unroll
      for (int e = 0; e < V; ++e) {
        const A part = taps.weight[1][r] * u[e];
#pragma unroll
        for (int q = 0; q < 3; ++q) window.grad[r][q][e] += taps.weight[0][q] * part;
      }
    }
    return;
  }
#pragma unroll 1
  for (int k = 0; k < 9; ++k) {
    const int r = k / 3, q = k - 3 * r;
    if ((taps.active[1] >> r & taps.active[0] >> q & 1) == 0) continue;
    const A weight = taps.weight[1][r] * taps.weight[0][q];
    A part[V];
#pragma unroll
    for (int e = 0; e < V; ++e) part[e] = weight * u[e];
    const Index cell = element_of(maps, cell_at(taps.first[1], r), cell_at(taps.first[0], q));
    add_held(maps.grad_input + cell, held, part);
  }
}

// One pixel's part of the gradient of its offset, of the channels held. As above, what takes no
// part is told apart only where the result is not finite.
template <typename T, typename Index, typename A, int V>
SCRN_DEVICE void gather(const Window<T, Index>& window, const PixelTaps<A>& taps, const A (&u)[V],
                        const WindowMaps<T, Index>& maps, const HeldChannels<T, V, Index>& held,
                        A (&d)[2]) {
  d[0] = d[1] = A(0);
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    A along_x = A(0), along_y = A(0);
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      A dot = A(0);
#pragma unroll
      for (int e = 0; e < V; ++e) dot += window.value[r][q][e] * u[e];
      along_x += taps.slope[0][q] * dot;
      along_y += taps.weight[0][q] * dot;
    }
    d[0] += taps.weight[1][r] * along_x;
    d[1] += taps.slope[1][r] * along_y;
  }
  if (not_finite(d) == A(0)) return;
  d[0] = d[1] = A(0);
#pragma unroll 1
  for (int k = 0; k < 9; ++k) {
    const int r = k / 3, q = k - 3 * r;
    if ((taps.active[1] >> r & taps.active[0] >> q & 1) == 0) continue;
    A value[V];
    const Index cell = element_of(maps, cell_at(taps.first[1], r), cell_at(taps.first[0], q));
    unpack<T>(load_held(maps.input + cell, held), value);
    A dot = A(0);
#pragma unroll
    for (int e = 0; e < V; ++e) dot += value[e] * u[e];
    d[0] += taps.weight[1][r] * taps.slope[0][q] * dot;
    d[1] += taps.slope[1][r] * taps.weight[0][q] * dot;
  }
}

}  // namespace scrn::srm::cuda
