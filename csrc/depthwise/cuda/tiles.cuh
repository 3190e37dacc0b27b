#pragma once

// Tiles of the large-kernel unit and of GELU: planes in shared memory, one for each of P channels
// that are neighbours in channels_last, or of one channel. They are of the accumulate type, and
// zero outside of the image: the convolutions know neither layout nor element type nor borders.
// (The multi-scale unit keeps rings of rows, see rings.cuh.)

#include "common.cuh"

namespace scrn::depthwise::cuda {

inline constexpr int kTileThreads = 256;
inline constexpr int kTileWarps = kTileThreads / kWarp;
template <int P>
inline constexpr int kWarpsOfPlane = kTileWarps / P;

// P > 1 is channels_last, and kDense is NCHW, which the compiler then knows.
template <int P, bool kDense, typename T, typename Pointer>
SCRN_DEVICE auto view_of(const UnitShape& s, Pointer map, const Corner& corner) {
  using Element = std::conditional_t<std::is_same_v<Pointer, const void*>, const T, T>;
  const Steps steps = steps_of(s, P > 1 || (!kDense && s.channels_last));
  const int channels = P == 1 ? 1 : channels_of(s, corner, P);
  return View<Element>::of(static_cast<Element*>(map), steps, s, corner, channels);
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
SCRN_DEVICE void load_rows(const Planes<P, A>& target, int rows, const View<const T>& from,
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
            row + r < rows && y >= 0 && y < from.height && (P == 1 || plane < from.channels);
        const T* const line =
            from.data + plane * from.steps.channel + y * from.steps.row + x * from.steps.column;
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const bool has = has_row && base + c * kStride < target.columns && x + c * kStride >= 0 &&
                           x + c * kStride < from.width;
          value[r][c] = has ? static_cast<A>(widen(line[c * kStride * from.steps.column])) : A(0);
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
