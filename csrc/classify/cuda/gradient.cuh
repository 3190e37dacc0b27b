#pragma once

// The gradient of the logits from every pixel's sum over the classes. A warp goes down 32 columns
// of cells and owns 31 columns of nodes: a node is the left end of its own cell and the right end
// of the cell before it, which a shuffle fetches; what a row of cells has for its lower nodes is
// carried to the next row, in shared memory. Every node is written once, and no sum depends on who
// comes first.

#include "workspace.cuh"

namespace scrn::classify::cuda {

// The most classes of a unit of work. A cell's pixels are read once for all of them.
template <typename A>
inline constexpr int kGroup = sizeof(A) == 4 ? 20 : 10;
// Columns and rows of nodes of a unit of work. The row of cells before them is done again.
inline constexpr int kStrip = kWarp - 1;
inline constexpr int kTall = 8;

struct GradientWork {
  int64_t groups, strips, bands, total;
  int32_t classes;  // of a group
};

template <typename A>
GradientWork gradient_work_of(const ResizeShape& s, const Span& span) {
  GradientWork work;
  work.groups = ceil_div(s.classes, kGroup<A>);
  work.classes = static_cast<int32_t>(ceil_div(s.classes, work.groups));
  work.strips = ceil_div(s.in_w, kStrip);
  work.bands = ceil_div(span.row1 - span.row0, kTall);
  work.total = span.images * work.groups * work.strips * work.bands;
  return work;
}

struct GradientParams {
  ResizeShape shape;
  LabelType target_type{};
  int64_t ignore_index = 0;
  bool smooths = false;
  const void* logits = nullptr;
  const void* target = nullptr;
  const void* grad_loss = nullptr;  // per pixel, or null
  void* gradient = nullptr;
};

// Labels of held pixels, by their place in the group of classes.
inline constexpr uint32_t kOther = 0xfe, kNone = 0xff;

// What a warp keeps in shared memory; a lane reads and writes its own column alone.
template <typename A, int C>
struct Kept {
  // Of some of a cell's pixels: the factors of their softmax, 0 where there is no pixel that
  // counts, and a byte for every label of a row.
  A factor[kRows<A>][C][kWarp];
  uint32_t labels[kRows<A>][kWarp];
  // Of the nodes above and below the cells, by class; behind the last one the pixels' number.
  A sums[2][kGroup<A> + 1][kWarp];
};

// Those pixels: the weights of the cell's lower and right ends, and the first one's number.
template <typename A, int C>
struct Pixels {
  A below[kRows<A>], right[C];
  int64_t pixel;
  int32_t rows, columns;
  uint32_t own;     // bits, row by row: relative to the pixel's own largest class
  uint32_t labels;  // bits, of the group's classes
  bool count;       // any of them
};

// What a cell's pixels have for its corners, for one class.
template <typename A>
using Ends = Values<A>;

// Adds a row of pixels: their sum, and that of what they have for their right ends.
template <typename A>
SCRN_DEVICE void add_row(Ends<A>& ends, A total, A right, A below) {
  const A left = total - right;
  ends.top_left = std::fma(A(1) - below, left, ends.top_left);
  ends.top_right = std::fma(A(1) - below, right, ends.top_right);
  ends.bottom_left = std::fma(below, left, ends.bottom_left);
  ends.bottom_right = std::fma(below, right, ends.bottom_right);
}

// Reads the pixels from (y, x) on. `number` is what they count at the corners, weighted: label
// smoothing takes a part of it from every class.
template <typename A, int C>
SCRN_DEVICE void hold_pixels(const GradientParams& p, int32_t width, const Span& span,
                             const Workspace<A>& w, int64_t first, int32_t classes, int32_t y,
                             int32_t x, Pixels<A, C>& held, Kept<A, C>& kept, Ends<A>& number) {
  const int lane = threadIdx.x % kWarp;
  held.own = held.labels = 0;
  held.count = false;
#pragma unroll
  for (int c = 0; c < C; ++c) held.right[c] = c < held.columns ? w.right[x + c] : A(0);
#pragma unroll 1
  for (int r = 0; r < held.rows; ++r) {
    uint32_t labels = 0;
    A total = A(0), for_right = A(0);
#pragma unroll
    for (int c = 0; c < C; ++c) {
      const int64_t offset = int64_t{r} * width + c;
      int32_t label = -1;
      if (c < held.columns) {
        label =
            label_of(p.target, p.target_type, held.pixel + offset, p.shape.classes, p.ignore_index);
      }
      A factor = A(0);
      uint32_t code = kNone;
      if (label != -1) {
        factor = w.reciprocals[held.pixel + offset - span.pixel0];
        if (factor < A(0)) {
          factor = -factor;
          held.own |= 1u << (r * C + c);
        }
        code = kOther;
        A scale = A(1);
        if (p.grad_loss != nullptr) scale = static_cast<const A*>(p.grad_loss)[held.pixel + offset];
        total += scale;
        for_right = std::fma(scale, held.right[c], for_right);
        if (label >= 0) {
          factor *= w.soft[label] * scale;
          if (label >= first && label < first + classes) {
            code = static_cast<uint32_t>(label - first);
            held.labels |= 1u << code;
          }
        }
        held.count = true;
      }
      labels |= code << (8 * c);
      kept.factor[r][c][lane] = factor;
    }
    kept.labels[r][lane] = labels;
    add_row(number, total, for_right, w.below[y + r]);
  }
}

// Pixels that are relative to the corners' largest classes and have another label.
template <typename A, int C>
SCRN_DEVICE void add_softmax(const Pixels<A, C>& held, const Kept<A, C>& kept, const Values<A>& v,
                             Ends<A>& ends) {
  const int lane = threadIdx.x % kWarp;
  const Values<A> powers = in_powers_of_two(v);
#pragma unroll
  for (int r = 0; r < kRows<A>; ++r) {
    if (r >= held.rows) break;
    const A below = held.below[r];
    const A left = between(powers.top_left, powers.bottom_left, below);
    const A end = between(powers.top_right, powers.bottom_right, below);
    A total = A(0), for_right = A(0);
#pragma unroll
    for (int c = 0; c < C; ++c) {
      const A slope = power_of_two(between(left, end, held.right[c])) * kept.factor[r][c][lane];
      total += slope;
      for_right = std::fma(slope, held.right[c], for_right);
    }
    add_row(ends, total, for_right, below);
  }
}

// Any pixels: of the class itself, relative to their own largest class, and such as do not count
// beside what is not finite.
template <typename A, int C>
SCRN_DEVICE void add_slopes(const GradientParams& p, int32_t width, const Span& span,
                            const Workspace<A>& w, const Pixels<A, C>& held, const Kept<A, C>& kept,
                            int32_t y, const Values<A>& v, uint32_t own_label, A hard,
                            Ends<A>& ends) {
  const int lane = threadIdx.x % kWarp;
  const Values<A> powers = in_powers_of_two(v);
#pragma unroll 1
  for (int r = 0; r < held.rows; ++r) {
    const A below = w.below[y + r];
    const A left = between(powers.top_left, powers.bottom_left, below);
    const A end = between(powers.top_right, powers.bottom_right, below);
    const uint32_t labels = kept.labels[r][lane];
    A total = A(0), for_right = A(0);
#pragma unroll
    for (int c = 0; c < C; ++c) {
      const int64_t offset = int64_t{r} * width + c;
      const uint32_t label = labels >> (8 * c) & 0xff;
      if (label == kNone) continue;
      A slope;
      if (held.own >> (r * C + c) & 1) {
        slope = exponential(inside(v, below, held.right[c]),
                            w.largest[held.pixel + offset - span.pixel0]);
      } else {
        slope = power_of_two(between(left, end, held.right[c]));
      }
      slope *= kept.factor[r][c][lane];
      if (label == own_label) {
        A scale = A(1);
        if (p.grad_loss != nullptr) scale = static_cast<const A*>(p.grad_loss)[held.pixel + offset];
        slope = std::fma(-hard, scale, slope);
      }
      total += slope;
      for_right = std::fma(slope, held.right[c], for_right);
    }
    add_row(ends, total, for_right, below);
  }
}

// Adds a cell's ends to the sums of its left nodes, and to its right nodes' in the next lane.
template <typename A>
SCRN_DEVICE void add_ends(Ends<A> ends, int32_t row, int32_t column, A& above, A& below) {
  // A cell before the first node has only that one; one behind the last has its left end.
  if (column < 0) {
    ends.top_right += ends.top_left;
    ends.bottom_right += ends.bottom_left;
  }
  const A top = ends.top_left + __shfl_up_sync(kFullWarp, ends.top_right, 1);
  const A bottom = ends.bottom_left + __shfl_up_sync(kFullWarp, ends.bottom_right, 1);
  if (row >= 0) above += top;
  below += row >= 0 ? bottom : bottom + top;
}

// The bits of all lanes; __reduce_or_sync is not for devices before 8.0.
SCRN_DEVICE uint32_t any_lane(uint32_t bits) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    bits |= __shfl_xor_sync(kFullWarp, bits, distance);
  }
  return bits;
}

// A row of cells, for the classes of a group.
template <typename T, typename A, int C>
SCRN_DEVICE void add_cells(const GradientParams& p, const Steps& steps, const Axis& axis_y,
                           const Axis& axis_x, const Span& span, const Workspace<A>& w,
                           int64_t image, int64_t first, int32_t classes, int32_t row,
                           int32_t column, Kept<A, C>& kept, int which) {
  const int lane = threadIdx.x % kWarp;
  auto& above = kept.sums[which];
  auto& below = kept.sums[1 - which];
  const Corners nodes = nodes_of(steps, axis_y.in_size, axis_x.in_size, row, column);
  const Corners corners = offsets_of(nodes, steps.column);
  const int64_t image_nodes = static_cast<int64_t>(axis_y.in_size) * axis_x.in_size;
  const Values<A> most =
      load_values<T, A>(static_cast<const T*>(w.maxima) + image * image_nodes, nodes);
  // The difference of what is not finite is NaN.
  const A none = (most.top_left - most.top_left) + (most.top_right - most.top_right) +
                 (most.bottom_left - most.bottom_left) + (most.bottom_right - most.bottom_right);
  const int32_t y0 = first_output(axis_y, row), y1 = first_output(axis_y, row + 1);
  const bool present = column < axis_x.in_size;
  const int32_t x0 = present ? first_output(axis_x, column) : 0;
  const int32_t x1 = present ? first_output(axis_x, column + 1) : 0;
#pragma unroll 1
  for (int32_t y = y0; y < y1; y += kRows<A>) {
#pragma unroll 1
    for (int32_t x = x0; __any_sync(kFullWarp, x < x1); x += C) {
      Pixels<A, C> held;
      held.rows = at_most(y1 - y, kRows<A>);
      held.columns = at_most(x1 - x, C);
      held.pixel = (image * axis_y.out_size + y) * axis_x.out_size + x;
      Ends<A> number = {A(0), A(0), A(0), A(0)};
      hold_pixels(p, axis_x.out_size, span, w, first, classes, y, x, held, kept, number);
      if (!__any_sync(kFullWarp, held.count)) continue;
      if (p.smooths) {
        add_ends(number, row, column, above[kGroup<A>][lane], below[kGroup<A>][lane]);
      }
      const uint32_t labels = any_lane(held.labels);
      const bool is_simple = !__any_sync(kFullWarp, held.own != 0 || none != A(0));
#pragma unroll
      for (int r = 0; r < kRows<A>; ++r) held.below[r] = r < held.rows ? w.below[y + r] : A(0);
      const T* plane = static_cast<const T*>(p.logits) + image * steps.image + first * steps.plane;
#pragma unroll 1
      for (int32_t c = 0; c < classes; ++c, plane += steps.plane) {
        const Values<A> v = relative(load_values<T, A>(plane, corners), most);
        Ends<A> ends = {A(0), A(0), A(0), A(0)};
        if (is_simple && (labels >> c & 1) == 0) {
          add_softmax(held, kept, v, ends);
        } else {
          add_slopes(p, axis_x.out_size, span, w, held, kept, y, v, static_cast<uint32_t>(c),
                     w.hard[first + c], ends);
        }
        add_ends(ends, row, column, above[c][lane], below[c][lane]);
      }
    }
  }
}

template <typename T, typename A, int C>
__global__ void __launch_bounds__(kThreads, kResidentBlocks<A>)
    gradient_kernel(const GradientParams p, const Steps steps, const Axis axis_y, const Axis axis_x,
                    const Span span, const GradientWork work, const Workspace<A> w) {
  using OfWarp = Kept<A, C>;
  SCRN_SHARED(OfWarp, memory, [kWarps]);
  const int lane = threadIdx.x % kWarp;
  OfWarp& kept = memory[threadIdx.x / kWarp];
  const A factor = static_cast<A>(1 / w.statistics->gradient_scale);
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
       unit < work.total; unit += static_cast<int64_t>(gridDim.x) * kWarps) {
    int64_t rest, group, strip, band, image;
    split(unit, work.groups, rest, group);
    split(rest, work.strips, rest, strip);
    split(rest, work.bands, image, band);
    image += span.image;
    const int64_t first = group * work.classes;
    const int32_t classes = static_cast<int32_t>(min_of(work.classes, p.shape.classes - first));
    const int32_t row0 = span.row0 + static_cast<int32_t>(band) * kTall;
    const int32_t row1 = at_most(row0 + kTall, span.row1);
    const int32_t column0 = static_cast<int32_t>(strip) * kStrip;
    const int32_t column = column0 + lane - 1;  // lane 0: the cell before the first node
    const bool owns = lane > 0 && column < axis_x.in_size;
    for (int c = 0; c <= kGroup<A>; ++c) kept.sums[0][c][lane] = kept.sums[1][c][lane] = A(0);
    for (int32_t row = row0 - 1; row < row1; ++row) {
      const int which = (row - row0) & 1;
      add_cells<T, A, C>(p, steps, axis_y, axis_x, span, w, image, first, classes, row, column,
                         kept, which);
      auto& above = kept.sums[which];
      const int64_t node = static_cast<int64_t>(row) * steps.row + column;
      const int64_t first_out = image * steps.image + first * steps.plane + node * steps.column;
      for (int32_t c = 0; c < classes; ++c) {
        if (row >= row0 && owns) {
          A value = above[c][lane];
          if (p.smooths) value -= w.uniform[first + c] * above[kGroup<A>][lane];
          static_cast<T*>(p.gradient)[first_out + c * steps.plane] = narrow<T>(value * factor);
        }
        above[c][lane] = A(0);
      }
      above[kGroup<A>][lane] = A(0);
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
  constexpr int V = kVector<T>;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * kThreads;
  int64_t done = 0;
  if ((reinterpret_cast<uintptr_t>(source) | reinterpret_cast<uintptr_t>(target)) % 16 == 0) {
    done = p.count / V * V;
    for (int64_t i = thread * V; i < done; i += threads * V) {
      A values[V];
      unpack<T>(load_packed<V>(source + i), values);
#pragma unroll
      for (A& value : values) value *= factor;
      store_packed<V>(target + i, pack<T>(values));
    }
  }
  for (int64_t i = done + thread; i < p.count; i += threads) {
    target[i] = narrow<T>(widen(source[i]) * factor);
  }
}

}  // namespace scrn::classify::cuda
