#pragma once

// The loss, and every pixel's log-sum-exp for the gradient.

#include "common.cuh"

namespace scrn::classify::cuda {

// The factors by class. One block.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const A* weight, int64_t classes, double smoothing, double pixels_per_node,
                   bool scales, const Workspace<A> w) {
  SCRN_SHARED(double, totals, [kThreads]);
  SCRN_SHARED(double, largest, [kThreads]);
  double total = 0, most = 1;
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
    w.statistics->weight_sum = 0;
    w.statistics->gradient_scale =
        scales ? std::exp2(std::ceil(std::log2(pixels_per_node * most))) : 1.0;
  }
}

// The log-sum-exps of a part of a cell's pixels, in units of log2: the largest value and the sum
// relative to it.
template <typename A>
struct Sums {
  A largest[kRows<A>][kColumns<A>], sum[kRows<A>][kColumns<A>];
};

template <typename T, typename A>
SCRN_DEVICE void sum_classes(const T* image, const Steps& steps, int64_t classes,
                             const Corners& corners, const A (&below)[kRows<A>],
                             const A (&right)[kColumns<A>], Sums<A>& sums) {
#pragma unroll
  for (int r = 0; r < kRows<A>; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns<A>; ++c) {
      sums.largest[r][c] = -static_cast<A>(INFINITY);
      sums.sum[r][c] = A(0);
    }
  }
  const T* plane = image;
  for (int64_t k = 0; k < classes; ++k, plane += steps.plane) {
    const Values<A> v = load_values<T, A>(plane, corners);
#pragma unroll
    for (int r = 0; r < kRows<A>; ++r) {
      const A left = between(v.top_left, v.bottom_left, below[r]);
      const A end = between(v.top_right, v.bottom_right, below[r]);
#pragma unroll
      for (int c = 0; c < kColumns<A>; ++c) {
        const A value = between(left, end, right[c]) * kLog2e<A>;
        if (value > sums.largest[r][c]) {
          sums.sum[r][c] *= std::exp2(sums.largest[r][c] - value);
          sums.largest[r][c] = value;
        }
        sums.sum[r][c] += std::exp2(value - sums.largest[r][c]);
      }
    }
  }
}

// The sum over the lanes of a warp, in one order always.
SCRN_DEVICE double warp_sum(double value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kFullWarp, value, step);
  }
  return value;
}

// One warp takes 32 cells of a row. What is kept of a pixel for the gradient is
// log2(sum_k 2^z_k / soft), plus infinity where the pixel does not take part: its softmax times
// `soft` is then 2^(z_k - that). For the loss without a reduction `soft` is left out.
template <typename T, typename A>
__global__ void __launch_bounds__(kThreads, kResidentBlocks)
    loss_kernel(const CrossEntropyParams p, const Steps steps, const Axis axis_y, const Axis axis_x,
                const Work work, const Workspace<A> w, bool keeps) {
  const int lane = threadIdx.x % kWarp;
  const int64_t classes = p.shape.classes;
  const bool smooths = p.label_smoothing > 0;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
       unit < work.total; unit += static_cast<int64_t>(gridDim.x) * kWarps) {
    const Cell cell = cell_of(work, unit, lane);
    const auto [image, row, column] = cell;
    double loss = 0, weight = 0;
    const T* const logits = static_cast<const T*>(p.logits) + image * steps.image;
    const int32_t y0 = first_output(axis_y, row), y1 = first_output(axis_y, row + 1);
    const bool present = column < axis_x.in_size;
    const int32_t x0 = present ? first_output(axis_x, column) : 0;
    const int32_t x1 = present ? first_output(axis_x, column + 1) : 0;
    const Corners corners = corners_of(steps, axis_y.in_size, axis_x.in_size, row, column);
    for (int32_t y = y0; y < y1; y += kRows<A>) {
      for (int32_t x = x0; x < x1; x += kColumns<A>) {
        A below[kRows<A>], right[kColumns<A>];
        shares_of(axis_y, axis_x, cell, y, y1, x, x1, below, right);
        Sums<A> sums;
        sum_classes<T, A>(logits, steps, classes, corners, below, right, sums);
#pragma unroll
        for (int r = 0; r < kRows<A>; ++r) {
#pragma unroll
          for (int c = 0; c < kColumns<A>; ++c) {
            if (y + r >= y1 || x + c >= x1) continue;
            const int64_t pixel = (image * axis_y.out_size + y + r) * axis_x.out_size + x + c;
            const int32_t label = label_of(p.target, p.target_type, pixel, classes, p.ignore_index);
            const A largest = sums.largest[r][c], log_sum = std::log2(sums.sum[r][c]);
            A kept = static_cast<A>(INFINITY), value = A(0);
            if (label == -2 || (label >= 0 && has_no_class(largest))) {
              kept = value = static_cast<A>(NAN);
            } else if (label >= 0) {
              const A soft = w.soft[label], hard = w.hard[label];
              const Values<A> v = load_values<T, A>(logits + label * steps.plane, corners);
              const A own = between(between(v.top_left, v.bottom_left, below[r]),
                                    between(v.top_right, v.bottom_right, below[r]), right[c]);
              const A apart = largest - own * kLog2e<A>;
              if (soft != A(0)) value = soft * log_sum * kLn2<A>;
              if (hard != A(0)) {
                value += apart > A(1e20) ? static_cast<A>(INFINITY) : hard * apart * kLn2<A>;
              }
              if (smooths) {
                const T* plane = logits;
                A spread = A(0);
                for (int64_t k = 0; k < classes; ++k, plane += steps.plane) {
                  const Values<A> u = load_values<T, A>(plane, corners);
                  const A other = between(between(u.top_left, u.bottom_left, below[r]),
                                          between(u.top_right, u.bottom_right, below[r]), right[c]);
                  if (w.uniform[k] != A(0)) {
                    spread += w.uniform[k] * (largest * kLn2<A> - other);
                  }
                }
                value += spread > A(1e20) ? static_cast<A>(INFINITY) : spread;
              }
              kept = largest + log_sum;
              if (p.reduction != Reduction::kNone) {
                kept = soft != A(0) ? kept - std::log2(soft) : static_cast<A>(INFINITY);
                weight += p.weight == nullptr
                              ? 1.0
                              : static_cast<double>(static_cast<const A*>(p.weight)[label]);
              }
            }
            if (p.reduction == Reduction::kNone) {
              if (p.loss != nullptr) static_cast<A*>(p.loss)[pixel] = value;
            } else {
              loss += static_cast<double>(value);
            }
            if (keeps) w.log_sums[pixel] = kept;
          }
        }
      }
    }
    if (p.reduction == Reduction::kNone) continue;
    loss = warp_sum(loss);
    weight = warp_sum(weight);
    if (lane == 0) {
      w.parts[2 * unit] = loss;
      w.parts[2 * unit + 1] = weight;
    }
  }
}

// Adds up what the warps have found. One block.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const Workspace<A> w, int64_t works, bool mean, A* loss,
                  LossStatistics* statistics) {
  SCRN_SHARED(double, losses, [kThreads]);
  SCRN_SHARED(double, weights, [kThreads]);
  double sum = 0, weight = 0;
  for (int64_t i = threadIdx.x; i < works; i += kThreads) {
    sum += w.parts[2 * i];
    weight += w.parts[2 * i + 1];
  }
  losses[threadIdx.x] = sum;
  weights[threadIdx.x] = weight;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = weight = 0;
  for (int i = 0; i < kThreads; ++i) {
    sum += losses[i];
    weight += weights[i];
  }
  *loss = static_cast<A>(mean ? sum / weight : sum);
  statistics->weight_sum = weight;
  statistics->gradient_scale = w.statistics->gradient_scale;
}

}  // namespace scrn::classify::cuda
