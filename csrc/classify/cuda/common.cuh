#pragma once

// What the kernels share: cells and their pixels, values at the corners, labels and factors.
//
// A thread is a cell: the space between four neighbouring nodes (pixels of the logits), for rows
// and columns -1 .. size - 1. Before the first node and behind the last one both ends of a cell
// are that node.

#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/types.cuh"
#include "../params.h"

namespace scrn::classify::cuda {

using namespace scrn::cuda;

inline constexpr int kWarp = 32;
inline constexpr int kWarps = kThreads / kWarp;
// Blocks that a multiprocessor should hold: at most 128 registers for a thread.
inline constexpr int kResidentBlocks = 4;
// Pixels of a cell whose sums a thread holds at once; a larger cell is taken in parts.
template <typename A>
inline constexpr int kRows = sizeof(A) == 4 ? 2 : 1;
template <typename A>
inline constexpr int kColumns = sizeof(A) == 4 ? 4 : 2;

template <typename A>
inline constexpr A kLog2e = A(1.4426950408889634);
template <typename A>
inline constexpr A kLn2 = A(0.6931471805599453);
// Stands for minus infinity: a weight of zero makes NaN of infinity.
template <typename A>
inline constexpr A kLowest = A(-1e30);

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
SCRN_DEVICE int32_t first_output(const Axis& axis, int32_t cell) {
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

// The corners of a cell as offsets within a class.
struct Corners {
  int64_t top_left, top_right, bottom_left, bottom_right;
};

SCRN_DEVICE Corners corners_of(const Steps& steps, int32_t in_h, int32_t in_w, int32_t row,
                               int32_t column) {
  const int64_t top = static_cast<int64_t>(clamped(row, in_h)) * steps.row;
  const int64_t bottom = static_cast<int64_t>(clamped(row + 1, in_h)) * steps.row;
  const int32_t left = clamped(column, in_w), right = clamped(column + 1, in_w);
  return {(top + left) * steps.column, (top + right) * steps.column, (bottom + left) * steps.column,
          (bottom + right) * steps.column};
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

// Of a pixel's largest value, in whatever unit: whether all of its classes are minus infinity, of
// which no softmax exists.
template <typename A>
SCRN_DEVICE bool has_no_class(A largest) {
  return largest < kLowest<A> / 2;
}

template <typename T, typename A>
SCRN_DEVICE Values<A> load_values(const T* plane, const Corners& at) {
  return {at_least_lowest<A>(widen(plane[at.top_left])),
          at_least_lowest<A>(widen(plane[at.top_right])),
          at_least_lowest<A>(widen(plane[at.bottom_left])),
          at_least_lowest<A>(widen(plane[at.bottom_right]))};
}

// Both ends of a row of pixels, and a pixel between them.
template <typename A>
SCRN_DEVICE A between(A first, A second, A share) {
  return share * second + (A(1) - share) * first;
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

// A launch's tables and results in its workspace. The factors by class: of softmax and of the
// one-hot vector in a pixel's gradient, and what label smoothing takes of every class.
template <typename A>
struct Workspace {
  A *soft, *hard, *uniform;    // [K]
  LossStatistics* statistics;  // gradient_scale is read, weight_sum left out
  double* parts;               // [works][2]: loss and weight
  A* log_sums;                 // [B,out_h,out_w]: log2 of the sums over the classes, see loss.cuh
};

struct Work {
  int64_t rows, strips, total;  // cells' rows and strips of 32 of an image; of the whole batch
};

inline Work work_of(const ResizeShape& s) {
  Work work;
  work.rows = int64_t{s.in_h} + 1;
  work.strips = ceil_div(int64_t{s.in_w} + 1, kWarp);
  work.total = s.batch * work.rows * work.strips;
  return work;
}

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

// The weights of the lower and of the right ends in the pixels from (y, x) on that are held at
// once; those behind the cell's last row and column y1 - 1 and x1 - 1 are as there.
template <typename A>
SCRN_DEVICE void shares_of(const Axis& axis_y, const Axis& axis_x, const Cell& cell, int32_t y,
                           int32_t y1, int32_t x, int32_t x1, A (&below)[kRows<A>],
                           A (&right)[kColumns<A>]) {
#pragma unroll
  for (int r = 0; r < kRows<A>; ++r) {
    below[r] = share_of<A>(axis_y, cell.row, at_most(y + r, y1 - 1));
  }
#pragma unroll
  for (int c = 0; c < kColumns<A>; ++c) {
    right[c] = share_of<A>(axis_x, cell.column, at_most(x + c, x1 - 1));
  }
}

template <typename A>
Workspace<A> lay_out(const ResizeShape& s, void* memory, size_t* bytes) {
  char* const base = static_cast<char*>(memory);
  size_t used = 0;
  const auto take = [&](size_t count) {
    char* const piece = base == nullptr ? nullptr : base + used;
    used += (count + 15) / 16 * 16;
    return piece;
  };
  const size_t table = sizeof(A) * static_cast<size_t>(s.classes);
  Workspace<A> w;
  w.soft = reinterpret_cast<A*>(take(table));
  w.hard = reinterpret_cast<A*>(take(table));
  w.uniform = reinterpret_cast<A*>(take(table));
  w.statistics = reinterpret_cast<LossStatistics*>(take(sizeof(LossStatistics)));
  w.parts = reinterpret_cast<double*>(take(2 * sizeof(double) * work_of(s).total));
  w.log_sums =
      reinterpret_cast<A*>(take(sizeof(A) * static_cast<size_t>(s.batch) * s.out_h * s.out_w));
  if (bytes != nullptr) *bytes = used;
  return w;
}

// Blocks of kWarps warps for a number of pieces of work, a warp each.
inline dim3 warps_of(int64_t works, const LaunchOptions& options) {
  return grid_of(ceil_div(works, kWarps), options);
}

}  // namespace scrn::classify::cuda
