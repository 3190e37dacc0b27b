#pragma once

// What the kernels share: cells and their pixels, values at the corners, labels and factors.
//
// A thread is a cell: the space between four neighbouring nodes (pixels of the logits), for rows
// and columns -1 .. size - 1. Before the first node and behind the last one both ends of a cell
// are that node.

#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/types.cuh"
#include "../../common/cuda/warp.cuh"
#include "../params.h"

namespace scrn::classify::cuda {

using namespace scrn::cuda;

inline constexpr int kWarps = kThreads / kWarp;
// Blocks that a multiprocessor should hold: at most 128 registers for a thread, 255 in float64.
template <typename A>
inline constexpr int kResidentBlocks = sizeof(A) == 4 ? 4 : 2;
// Rows and columns of a cell's pixels that a thread holds at once; a larger cell is taken in parts.
template <typename A>
inline constexpr int kRows = sizeof(A) == 4 ? 4 : 2;
inline constexpr int kColumns = 4;

template <typename A>
inline constexpr A kLog2e = A(1.4426950408889634);
template <typename A>
inline constexpr A kLn2 = A(0.6931471805599453);
// Stands for minus infinity, of which a weight of zero makes NaN; what is interpolated with it, and
// lies below kInfinite, is minus infinity.
template <typename A>
inline constexpr A kLowest = sizeof(A) == 4 ? A(-1e30) : A(-1e300);
template <typename A>
inline constexpr A kInfinite = sizeof(A) == 4 ? A(-1e20) : A(-1e285);

// Outputs of one dimension by cell, in integers: a position is rounded once, at any size.
struct Axis {
  int64_t mul, add, den;  // output i lies at (i * mul + add) / den
  int32_t in_size, out_size;
};

inline Axis axis_of(int32_t in_size, int32_t out_size, bool align_corners) {
  if (align_corners) return {in_size - 1, 0, std::max(out_size - 1, 1), in_size, out_size};
  return {2 * int64_t{in_size}, int64_t{in_size} - out_size, 2 * int64_t{out_size}, in_size,
          out_size};
}

// The first output of a cell: the smallest i with i * mul + add >= cell * den.
SCRN_HOST_DEVICE int32_t first_output(const Axis& axis, int32_t cell) {
  if (cell < 0) return 0;
  if (cell >= axis.in_size) return axis.out_size;
  const int64_t least = cell * axis.den - axis.add;
  if (least <= 0) return 0;
  if (axis.mul == 0) return axis.out_size;
  int64_t quotient, remainder;
  split(least + axis.mul - 1, axis.mul, quotient, remainder);
  return quotient < axis.out_size ? static_cast<int32_t>(quotient) : axis.out_size;
}

// The weight of the cell's right or lower end in output i, one of its own.
template <typename A>
SCRN_DEVICE A share_of(const Axis& axis, int32_t cell, int32_t i) {
  if (cell < 0 || cell >= axis.in_size - 1) return A(0);
  return static_cast<A>(i * axis.mul + axis.add - cell * axis.den) / static_cast<A>(axis.den);
}

SCRN_DEVICE int32_t clamped(int32_t node, int32_t size) {
  return node < 0 ? 0 : (node < size ? node : size - 1);
}

// Elements from one class, row and column of the logits to the next.
struct Steps {
  int64_t image, plane;
  int32_t row, column;
};

inline Steps steps_of(const ResizeShape& s) {
  const int64_t pixels = int64_t{s.in_h} * s.in_w;
  const int64_t classes = s.classes;
  Steps steps;
  steps.image = classes * pixels;
  steps.plane = s.channels_last ? 1 : pixels;
  steps.row = s.in_w;
  steps.column = static_cast<int32_t>(s.channels_last ? classes : 1);
  return steps;
}

// The corners of a cell, by the number of the node in its image or as offsets within a class: the
// top left one, and the steps to the lower and to the right ones.
struct Corners {
  int64_t first, lower;
  int32_t right;
};

SCRN_DEVICE Corners nodes_of(const Steps& steps, int32_t in_h, int32_t in_w, int32_t row,
                             int32_t column) {
  const int64_t top = static_cast<int64_t>(clamped(row, in_h)) * steps.row;
  const int64_t bottom = static_cast<int64_t>(clamped(row + 1, in_h)) * steps.row;
  const int32_t left = clamped(column, in_w);
  return {top + left, bottom - top, clamped(column + 1, in_w) - left};
}

SCRN_DEVICE Corners offsets_of(const Corners& nodes, int32_t step) {
  return {nodes.first * step, nodes.lower * step, nodes.right * step};
}

// Values of one class at the corners.
template <typename A>
struct Values {
  A top_left, top_right, bottom_left, bottom_right;
};

template <typename A>
SCRN_DEVICE A at_least_lowest(A value) {
  return value < kLowest<A> ? kLowest<A> : value;  // NaN stays
}

template <typename T, typename A>
SCRN_DEVICE Values<A> load_values(const T* plane, const Corners& at) {
  const T* const first = plane + at.first;
  return {widen(first[0]), widen(first[at.right]), widen(first[at.lower]),
          widen(first[at.lower + at.right])};
}

template <typename A>
SCRN_DEVICE Values<A> bounded(const Values<A>& v) {
  return {at_least_lowest(v.top_left), at_least_lowest(v.top_right), at_least_lowest(v.bottom_left),
          at_least_lowest(v.bottom_right)};
}

// Relative to the largest class of each corner: at most 0 there, and so between them. What is
// common to all classes of a node costs no digits.
template <typename A>
SCRN_DEVICE Values<A> relative(const Values<A>& v, const Values<A>& most) {
  return bounded<A>({v.top_left - most.top_left, v.top_right - most.top_right,
                     v.bottom_left - most.bottom_left, v.bottom_right - most.bottom_right});
}

// Both ends of a row of pixels, and a pixel between them. Rounded in one way only: what the loss
// finds to be a pixel's largest value is it for the gradient, too.
template <typename A>
SCRN_DEVICE A between(A first, A second, A share) {
  return std::fma(share, second, (A(1) - share) * first);
}

// The exponential of a pixel's value relative to `largest`: the difference of two large values
// comes before anything that would round them again.
template <typename A>
SCRN_DEVICE A exponential(A value, A largest) {
  return std::exp2((value - largest) * kLog2e<A>);
}

// Of a class whose values are at most 0, as powers of two: the fast way to all pixels of a cell.
template <typename A>
SCRN_DEVICE Values<A> in_powers_of_two(const Values<A>& v) {
  return {v.top_left * kLog2e<A>, v.top_right * kLog2e<A>, v.bottom_left * kLog2e<A>,
          v.bottom_right * kLog2e<A>};
}

// What is below the smallest normal number is 0 on a GPU.
template <typename A>
SCRN_DEVICE A power_of_two(A exponent) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(A) == 4) {
    A result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(exponent));
    return result;
  }
#endif
  return std::exp2(exponent);
}

template <typename A>
SCRN_DEVICE A inside(const Values<A>& v, A below, A right) {
  return between(between(v.top_left, v.bottom_left, below),
                 between(v.top_right, v.bottom_right, below), right);
}

// A pixel's label; -1: none, because it is ignored; -2: no class.
SCRN_DEVICE int32_t label_of(const void* target, LabelType type, int64_t pixel, int64_t classes,
                             int64_t ignored) {
  int64_t label;
  if (type == LabelType::kUint8) {
    label = static_cast<const uint8_t*>(target)[pixel];
  } else if (type == LabelType::kInt32) {
    label = static_cast<const int32_t*>(target)[pixel];
  } else {
    label = static_cast<const int64_t*>(target)[pixel];
  }
  if (label == ignored) return -1;
  return label >= 0 && label < classes ? static_cast<int32_t>(label) : -2;
}

struct Work {
  int64_t rows, strips, total;  // cells' rows and strips of 32 of an image; of the whole batch
};

inline Work work_of(int64_t images, int32_t rows, int32_t columns) {
  Work work;
  work.rows = int64_t{rows} + 1;
  work.strips = ceil_div(int64_t{columns} + 1, kWarp);
  work.total = images * work.rows * work.strips;
  return work;
}

inline Work work_of(const ResizeShape& s) { return work_of(s.batch, s.in_h, s.in_w); }

// The cell of a warp's lane, by the number of its strip.
struct Cell {
  int64_t image;
  int32_t row, column;
};

SCRN_DEVICE Cell cell_of(const Work& work, int64_t unit, int lane) {
  int64_t line, strip, image, row;
  split(unit, work.strips, line, strip);
  split(line, work.rows, image, row);
  return {image, static_cast<int32_t>(row) - 1, static_cast<int32_t>(strip) * kWarp + lane - 1};
}

// Blocks of kWarps warps for a number of pieces of work, a warp each.
inline dim3 warps_of(int64_t works, const LaunchOptions& options) {
  return grid_of(ceil_div(works, kWarps), options);
}

}  // namespace scrn::classify::cuda
