#pragma once

// The loss, and every pixel's sum over the classes for the gradient.

#include "workspace.cuh"

namespace scrn::classify::cuda {

// The weight of the right or lower end of whatever cell output i lies in.
template <typename A>
SCRN_DEVICE A share_at(const Axis& axis, int32_t i) {
  const int64_t numerator = i * axis.mul + axis.add;
  if (numerator <= 0) return A(0);
  int64_t cell, rest;
  split(numerator, axis.den, cell, rest);
  return share_of<A>(axis, static_cast<int32_t>(cell), i);
}

// The factors by class, and the weights by row and column of pixels. One block.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const A* weight, int64_t classes, double smoothing, double pixels_per_node,
                   bool scales, const Axis axis_y, const Axis axis_x, const Workspace<A> w) {
  for (int64_t i = threadIdx.x; i < axis_y.out_size; i += kThreads) {
    w.below[i] = share_at<A>(axis_y, static_cast<int32_t>(i));
  }
  for (int64_t i = threadIdx.x; i < axis_x.out_size; i += kThreads) {
    w.right[i] = share_at<A>(axis_x, static_cast<int32_t>(i));
  }
  SCRN_SHARED(double, totals, [kThreads]);
  SCRN_SHARED(double, largest, [kThreads]);
  double total = 0, most = 0;
  for (int64_t k = threadIdx.x; k < classes; k += kThreads) {
    const double value = weight == nullptr ? 1.0 : static_cast<double>(weight[k]);
    total += value;
    const double size = value < 0 ? -value : value;
    most = size > most ? size : most;
  }
  totals[threadIdx.x] = total;
  largest[threadIdx.x] = most;
  __syncthreads();
  total = 0;
  for (int i = 0; i < kThreads; ++i) {
    total += totals[i];
    most = largest[i] > most ? largest[i] : most;
  }
  const double share = smoothing / static_cast<double>(classes);
  for (int64_t k = threadIdx.x; k < classes; k += kThreads) {
    const double value = weight == nullptr ? 1.0 : static_cast<double>(weight[k]);
    w.soft[k] = static_cast<A>((1 - smoothing) * value + share * total);
    w.hard[k] = static_cast<A>((1 - smoothing) * value);
    w.uniform[k] = static_cast<A>(share * value);
  }
  if (threadIdx.x == 0) {
    w.uniform[classes] = static_cast<A>(share * total);
    w.statistics->weight_sum = 0;
    double scale = 1;
    if (scales && most > 0) {
      scale = std::exp2(std::ceil(std::log2(pixels_per_node * most)));
      scale = scale < 0x1p-120 ? 0x1p-120 : scale > 0x1p120 ? 0x1p120 : scale;
    }
    w.statistics->gradient_scale = scale;
  }
}

// The largest class of every node, NaN where there is one: so are all pixels around it.
template <typename T, typename A>
__global__ void __launch_bounds__(kThreads)
    maxima_kernel(const T* logits, int64_t nodes, const Steps steps, int64_t nodes_of_image,
                  int64_t classes, T* maxima) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < nodes;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    int64_t image, node;
    split(i, nodes_of_image, image, node);
    const T* const values = logits + image * steps.image + node * steps.column;
    A most = widen(values[0]);
    for (int64_t k = 1; k < classes; ++k) {
      const A value = widen(values[k * steps.plane]);
      most = value > most || value != value ? value : most;
    }
    maxima[i] = narrow<T>(most);
  }
}

// Sums below this have lost classes that count.
inline constexpr double kUnderflow = 1e-20;

// Sums of pixels' exponentials over the classes, relative to the nodes' largest ones, which bound
// what lies between them.
template <typename T, typename A>
SCRN_DEVICE void sum_classes(const T* image, const Steps& steps, int64_t classes,
                             const Corners& corners, const Values<A>& most, int32_t rows,
                             const A (&below)[kRows<A>], const A (&right)[kColumns],
                             A (&sums)[kRows<A>][kColumns]) {
#pragma unroll
  for (int r = 0; r < kRows<A>; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) sums[r][c] = A(0);
  }
  const T* plane = image;
  for (int64_t k = 0; k < classes; ++k, plane += steps.plane) {
    const Values<A> powers = in_powers_of_two(relative(load_values<T, A>(plane, corners), most));
#pragma unroll
    for (int r = 0; r < kRows<A>; ++r) {
      if (r >= rows) break;
      const A left = between(powers.top_left, powers.bottom_left, below[r]);
      const A end = between(powers.top_right, powers.bottom_right, below[r]);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        sums[r][c] += power_of_two(between(left, end, right[c]));
      }
    }
  }
}

// The sum of one pixel relative to its own largest class.
template <typename T, typename A>
SCRN_DEVICE A sum_of_pixel(const T* image, const Steps& steps, int64_t classes,
                           const Corners& corners, const Values<A>& most, A below, A right,
                           A& largest) {
  A sum = A(0);
  largest = -static_cast<A>(INFINITY);
  const T* plane = image;
  for (int64_t k = 0; k < classes; ++k, plane += steps.plane) {
    const A value = inside(relative(load_values<T, A>(plane, corners), most), below, right);
    if (value > largest) {
      sum *= exponential(largest, value);
      largest = value;
    }
    sum += exponential(value, largest);
  }
  return sum;
}

// What label smoothing takes at the corners of a cell: the sum over the classes of their factors
// times their values, relative to the largest.
template <typename T, typename A>
SCRN_DEVICE Values<A> smoothed(const T* image, const Steps& steps, int64_t classes,
                               const Corners& corners, const Values<A>& most, const A* uniform) {
  Values<A> sum = {A(0), A(0), A(0), A(0)};
  const T* plane = image;
  for (int64_t k = 0; k < classes; ++k, plane += steps.plane) {
    const A factor = uniform[k];
    if (factor == A(0)) continue;
    const Values<A> v = relative(load_values<T, A>(plane, corners), most);
    sum.top_left += factor * v.top_left;
    sum.top_right += factor * v.top_right;
    sum.bottom_left += factor * v.bottom_left;
    sum.bottom_right += factor * v.bottom_right;
  }
  return bounded(sum);
}

template <typename A>
SCRN_DEVICE A infinite_below(A value) {
  return value < kInfinite<A> ? -static_cast<A>(INFINITY) : value;
}

// The loss of a pixel with a label: `own` is the label's value, `spread` what smoothing takes.
template <typename A>
SCRN_DEVICE A loss_of(const Workspace<A>& w, int32_t label, A sum, A largest, A own, A spread,
                      A uniform) {
  const A soft = w.soft[label], hard = w.hard[label];
  A value = A(0);
  if (soft != A(0)) value = soft * std::log2(sum) * kLn2<A>;
  if (hard != A(0)) value -= hard * infinite_below(own - largest);
  if (uniform != A(0) || spread != A(0)) {
    value -= infinite_below(spread - uniform * largest);
  }
  return value;
}

// One warp takes 32 cells of a row.
template <typename T, typename A>
__global__ void __launch_bounds__(kThreads, kResidentBlocks<A>)
    loss_kernel(const CrossEntropyParams p, const Steps steps, const Axis axis_y, const Axis axis_x,
                const Span span, const Work work, const Workspace<A> w) {
  // Where a loop over the pixels finds a thread's sums.
  SCRN_SHARED(A, results, [kRows<A>][kColumns][kThreads]);
  const int lane = threadIdx.x % kWarp;
  const int64_t classes = p.shape.classes;
  const bool smooths = p.label_smoothing > 0;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
       unit < work.total; unit += static_cast<int64_t>(gridDim.x) * kWarps) {
    Cell cell = cell_of(work, unit, lane);
    cell.image += span.image;
    cell.row += span.row0;
    const auto [image, row, column] = cell;
    double loss = 0, weight = 0, valid = 0;
    const T* const logits = static_cast<const T*>(p.logits) + image * steps.image;
    const int32_t y0 = first_output(axis_y, row), y1 = first_output(axis_y, row + 1);
    const bool present = column < axis_x.in_size;
    const int32_t x0 = present ? first_output(axis_x, column) : 0;
    const int32_t x1 = present ? first_output(axis_x, column + 1) : 0;
    const Corners nodes = nodes_of(steps, axis_y.in_size, axis_x.in_size, row, column);
    const Corners corners = offsets_of(nodes, steps.column);
    const int64_t image_nodes = static_cast<int64_t>(axis_y.in_size) * axis_x.in_size;
    const Values<A> most =
        load_values<T, A>(static_cast<const T*>(w.maxima) + image * image_nodes, nodes);
    Values<A> taken = {A(0), A(0), A(0), A(0)};
    if (smooths) taken = smoothed<T, A>(logits, steps, classes, corners, most, w.uniform);
    for (int32_t y = y0; y < y1; y += kRows<A>) {
      const int32_t rows = at_most(y1 - y, kRows<A>);
      for (int32_t x = x0; x < x1; x += kColumns) {
        A below[kRows<A>], right[kColumns], sums[kRows<A>][kColumns];
#pragma unroll
        for (int r = 0; r < kRows<A>; ++r) below[r] = w.below[at_most(y + r, y1 - 1)];
#pragma unroll
        for (int c = 0; c < kColumns; ++c) right[c] = w.right[at_most(x + c, x1 - 1)];
        sum_classes<T, A>(logits, steps, classes, corners, most, rows, below, right, sums);
#pragma unroll
        for (int r = 0; r < kRows<A>; ++r) {
#pragma unroll
          for (int c = 0; c < kColumns; ++c) results[r][c][threadIdx.x] = sums[r][c];
        }
        // Rolled up: the code of one pixel is long, and the classes above take the time.
#pragma unroll 1
        for (int i = 0; i < rows * kColumns; ++i) {
          const int32_t at_y = y + i / kColumns, at_x = x + i % kColumns;
          if (at_x >= x1) continue;
          const int64_t pixel = (image * axis_y.out_size + at_y) * axis_x.out_size + at_x;
          const int32_t label = label_of(p.target, p.target_type, pixel, classes, p.ignore_index);
          const A lower = w.below[at_y], later = w.right[at_x];
          A sum = results[i / kColumns][i % kColumns][threadIdx.x], largest = A(0);
          if (label >= 0 && !(sum >= static_cast<A>(kUnderflow))) {
            sum = sum_of_pixel<T, A>(logits, steps, classes, corners, most, lower, later, largest);
          }
          A kept = A(0), value = A(0);
          if (label == -2 || (label >= 0 && largest < kInfinite<A>)) {
            // No class, or all of them are minus infinity, of which no softmax exists.
            kept = value = static_cast<A>(NAN);
          } else if (label >= 0) {
            const Values<A> v =
                relative(load_values<T, A>(logits + label * steps.plane, corners), most);
            const A uniform = smooths ? w.uniform[classes] : A(0);
            value = loss_of(w, label, sum, largest, inside(v, lower, later),
                            inside(taken, lower, later), uniform);
            kept = largest == A(0) ? A(1) / sum : A(-1) / sum;
            valid += 1;
            weight += p.weight == nullptr
                          ? 1.0
                          : static_cast<double>(static_cast<const A*>(p.weight)[label]);
          }
          if (p.reduction == Reduction::kNone) {
            if (p.loss != nullptr) static_cast<A*>(p.loss)[pixel] = value;
          } else {
            loss += static_cast<double>(value);
          }
          if (w.reciprocals != nullptr) {
            w.reciprocals[pixel - span.pixel0] = kept;
            if (largest != A(0)) w.largest[pixel - span.pixel0] = largest;
          }
        }
      }
    }
    // The row of cells before a span's nodes belongs to the span before it.
    if (p.reduction == Reduction::kNone || (row < span.row0 && row >= 0)) continue;
    loss = warp_sum<kWarp>(loss);
    weight = warp_sum<kWarp>(weight);
    valid = warp_sum<kWarp>(valid);
    if (lane == 0) {
      const int64_t line = image * (static_cast<int64_t>(axis_y.in_size) + 1) + row + 1;
      double* const part = w.parts + kParts * (line * work.strips + unit % work.strips);
      part[0] = loss;
      part[1] = weight;
      part[2] = valid;
    }
  }
}

inline constexpr int kFinishThreads = 1024;

// Adds up what the warps have found. One block.
template <typename A>
__global__ void __launch_bounds__(kFinishThreads)
    finish_kernel(const Workspace<A> w, int64_t works, bool mean, A* loss,
                  LossStatistics* statistics) {
  SCRN_SHARED(double, found, [kParts][kFinishThreads / kWarp]);
  double sums[kParts] = {};
  for (int64_t i = threadIdx.x; i < works; i += kFinishThreads) {
#pragma unroll
    for (int j = 0; j < kParts; ++j) sums[j] += w.parts[kParts * i + j];
  }
#pragma unroll
  for (int j = 0; j < kParts; ++j) {
    sums[j] = warp_sum<kWarp>(sums[j]);
    if (threadIdx.x % kWarp == 0) found[j][threadIdx.x / kWarp] = sums[j];
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
#pragma unroll
  for (int j = 0; j < kParts; ++j) {
    sums[j] = 0;
    for (int i = 0; i < kFinishThreads / kWarp; ++i) sums[j] += found[j][i];
  }
  const double loss_sum = sums[0], weight_sum = sums[1], valid = sums[2];
  *loss = static_cast<A>(mean ? loss_sum / weight_sum : loss_sum);
  statistics->weight_sum = weight_sum;
  // Zero: no pixel is valid. A wrong label alone makes none either, and NaN of the gradient.
  statistics->gradient_scale = valid > 0 ? w.statistics->gradient_scale : 0;
}

}  // namespace scrn::classify::cuda
