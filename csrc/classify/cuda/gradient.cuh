#pragma once

// The gradient of the logits from every pixel's sum over the classes. A warp goes down 32 columns
// of cells and owns 31 columns of nodes: a node is the left end of its own cell and the right end
// of the cell before it, which a shuffle fetches; what a row of cells has for its lower nodes is
// carried to the next row. Every node is written once, and no sum depends on who comes first.

#include "workspace.cuh"

namespace scrn::classify::cuda {

// Classes of a unit of work: fewer where label smoothing needs one more sum.
template <typename A>
inline constexpr int kPlainClasses = sizeof(A) == 4 ? 4 : 2;
template <typename A>
inline constexpr int kSmoothClasses = sizeof(A) == 4 ? 2 : 1;
// Columns of nodes of a unit of work. For its kBand rows the row of cells before them is done
// again.
inline constexpr int kStrip = kWarp - 1;

struct GradientWork {
  int64_t groups, strips, bands, total;
};

inline GradientWork gradient_work_of(const ResizeShape& s, const Span& span, int classes) {
  GradientWork work;
  work.groups = ceil_div(s.classes, classes);
  work.strips = ceil_div(s.in_w, kStrip);
  work.bands = ceil_div(span.row1 - span.row0, kBand);
  work.total = span.images * work.groups * work.strips * work.bands;
  return work;
}

struct GradientParams {
  ResizeShape shape;
  LabelType target_type{};
  int64_t ignore_index = 0;
  const void* logits = nullptr;
  const void* target = nullptr;
  const void* grad_loss = nullptr;  // per pixel, or null
  void* gradient = nullptr;
};

// What a thread's cell has for the nodes above and below it, by class; for label smoothing the
// last is the pixels' number, weighted.
template <typename A, int N>
struct Ends {
  A top_left[N], top_right[N], bottom_left[N], bottom_right[N];
};

// Adds a row of pixels: their sum, and that of what they have for their right ends.
template <typename A, int N>
SCRN_DEVICE void add_row(Ends<A, N>& ends, const A (&total)[N], const A (&right)[N], A below) {
#pragma unroll
  for (int c = 0; c < N; ++c) {
    const A left = total[c] - right[c];
    ends.top_left[c] += (A(1) - below) * left;
    ends.top_right[c] += (A(1) - below) * right[c];
    ends.bottom_left[c] += below * left;
    ends.bottom_right[c] += below * right[c];
  }
}

// All pixels of one cell, for N classes.
template <typename T, typename A, int N, bool kSmooths>
SCRN_DEVICE void add_cell(const GradientParams& p, const Steps& steps, const Axis& axis_y,
                          const Axis& axis_x, const Span& span, const Workspace<A>& w,
                          int64_t image, int64_t first, int32_t row, int32_t column,
                          Ends<A, N + kSmooths>& ends) {
  const int64_t classes = p.shape.classes;
  const T* const plane =
      static_cast<const T*>(p.logits) + image * steps.image + first * steps.plane;
  const Corners nodes = nodes_of(steps, axis_y.in_size, axis_x.in_size, row, column);
  const Corners corners = offsets_of(nodes, steps.column);
  const int64_t image_nodes = static_cast<int64_t>(axis_y.in_size) * axis_x.in_size;
  const Values<A> most =
      load_values<T, A>(static_cast<const T*>(w.maxima) + image * image_nodes, nodes);
  Values<A> values[N];
#pragma unroll
  for (int c = 0; c < N; ++c) {
    const int64_t k = first + c < classes ? c : 0;
    values[c] = relative(load_values<T, A>(plane + k * steps.plane, corners), most);
  }
  const int32_t y0 = first_output(axis_y, row), y1 = first_output(axis_y, row + 1);
  const int32_t x0 = first_output(axis_x, column), x1 = first_output(axis_x, column + 1);
#pragma unroll 1
  for (int32_t y = y0; y < y1; ++y) {
    const A below = w.below[y];
    A left[N], end[N], total[N + kSmooths], for_right[N + kSmooths];
#pragma unroll
    for (int c = 0; c < N; ++c) {
      left[c] = between(values[c].top_left, values[c].bottom_left, below);
      end[c] = between(values[c].top_right, values[c].bottom_right, below);
    }
#pragma unroll
    for (int c = 0; c < N + kSmooths; ++c) total[c] = for_right[c] = A(0);
#pragma unroll 1
    for (int32_t x = x0; x < x1; ++x) {
      const A right = w.right[x];
      const int64_t pixel = (image * axis_y.out_size + y) * axis_x.out_size + x;
      const int32_t label = label_of(p.target, p.target_type, pixel, classes, p.ignore_index);
      if (label == -1) continue;
      const int64_t place = place_in(span, axis_x.out_size, image, y, x);
      A factor = w.reciprocals[place], largest = A(0), scale = A(1), hard = A(0);
      if (factor < A(0)) {
        factor = -factor;
        largest = w.largest[place];
      }
      if (p.grad_loss != nullptr) scale = static_cast<const A*>(p.grad_loss)[pixel];
      if (label >= 0) {
        factor *= w.soft[label] * scale;
        hard = w.hard[label] * scale;
      }
#pragma unroll
      for (int c = 0; c < N; ++c) {
        A slope = exponential(between(left[c], end[c], right), largest) * factor;
        if (label == first + c) slope -= hard;
        total[c] += slope;
        for_right[c] = std::fma(slope, right, for_right[c]);
      }
      if constexpr (kSmooths) {
        total[N] += scale;
        for_right[N] = std::fma(scale, right, for_right[N]);
      }
    }
    add_row(ends, total, for_right, below);
  }
}

template <typename T, typename A, int N, bool kSmooths>
__global__ void __launch_bounds__(kThreads, kResidentBlocks<A>)
    gradient_kernel(const GradientParams p, const Steps steps, const Axis axis_y, const Axis axis_x,
                    const Span span, const GradientWork work, const Workspace<A> w) {
  const int lane = threadIdx.x % kWarp;
  const int64_t classes = p.shape.classes;
  const A factor = static_cast<A>(1 / w.statistics->gradient_scale);
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
       unit < work.total; unit += static_cast<int64_t>(gridDim.x) * kWarps) {
    int64_t rest, group, strip, band, image;
    split(unit, work.groups, rest, group);
    split(rest, work.strips, rest, strip);
    split(rest, work.bands, image, band);
    image += span.image;
    const int64_t first = group * N;
    const int32_t row0 = span.row0 + static_cast<int32_t>(band) * kBand;
    const int32_t row1 = at_most(row0 + kBand, span.row1);
    const int32_t column0 = static_cast<int32_t>(strip) * kStrip;
    const int32_t column = column0 + lane - 1;  // lane 0: the cell before the first node
    const bool owns = lane > 0 && column < axis_x.in_size;
    A carried[N + kSmooths];
#pragma unroll
    for (A& value : carried) value = A(0);
    for (int32_t row = row0 - 1; row < row1; ++row) {
      Ends<A, N + kSmooths> ends;
#pragma unroll
      for (int c = 0; c < N + kSmooths; ++c) {
        ends.top_left[c] = ends.top_right[c] = ends.bottom_left[c] = ends.bottom_right[c] = A(0);
      }
      if (column < axis_x.in_size) {
        add_cell<T, A, N, kSmooths>(p, steps, axis_y, axis_x, span, w, image, first, row, column,
                                    ends);
      }
#pragma unroll
      for (int c = 0; c < N + kSmooths; ++c) {
        // A cell before the first node has only that one; one behind the last has its left end.
        if (column < 0) {
          ends.top_right[c] += ends.top_left[c];
          ends.bottom_right[c] += ends.bottom_left[c];
        }
        A top = ends.top_left[c] + __shfl_up_sync(kFullWarp, ends.top_right[c], 1);
        A bottom = ends.bottom_left[c] + __shfl_up_sync(kFullWarp, ends.bottom_right[c], 1);
        if (row < 0) {
          bottom += top;
          top = A(0);
        }
        ends.top_left[c] = carried[c] + top;
        carried[c] = bottom;
      }
      if (row < row0 || !owns) continue;
      T* const out = static_cast<T*>(p.gradient) + image * steps.image + first * steps.plane +
                     (static_cast<int64_t>(row) * steps.row + column) * steps.column;
#pragma unroll
      for (int c = 0; c < N; ++c) {
        if (first + c >= classes) break;
        A value = ends.top_left[c];
        if constexpr (kSmooths) value -= w.uniform[first + c] * ends.top_left[N];
        out[c * steps.plane] = narrow<T>(value * factor);
      }
    }
  }
}

// The gradient that the forward kept, times that of the loss.
template <typename T, typename A>
__global__ void __launch_bounds__(kThreads) scale_kernel(const ScaleGradientParams p) {
  const double scale = p.statistics->gradient_scale;
  const double divisor = p.reduction == Reduction::kMean ? p.statistics->weight_sum : 1.0;
  // The mean over no pixel has no slope, as torch has it; that over weights of zero is NaN.
  const A factor = scale == 0
                       ? A(0)
                       : static_cast<A>(static_cast<double>(*static_cast<const A*>(p.grad_loss)) *
                                        scale / divisor);
  const T* const source = static_cast<const T*>(p.gradient);
  T* const target = static_cast<T*>(p.scaled);
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < p.count;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    target[i] = narrow<T>(widen(source[i]) * factor);
  }
}

}  // namespace scrn::classify::cuda
