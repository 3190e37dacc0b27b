#pragma once

// Upsampled argmax: a thread is a cell, its pixels' best classes in registers. Most classes are
// below what was found for all pixels of a cell, and are passed over.

#include "common.cuh"

namespace scrn::classify::cuda {

// The weights of the lower and of the right ends in the pixels from (y, x) on that are held at
// once; those behind the cell's last row and column y1 - 1 and x1 - 1 are as there.
template <typename A>
SCRN_DEVICE void shares_of(const Axis& axis_y, const Axis& axis_x, const Cell& cell, int32_t y,
                           int32_t y1, int32_t x, int32_t x1, A (&below)[kRows<A>],
                           A (&right)[kColumns]) {
#pragma unroll
  for (int r = 0; r < kRows<A>; ++r) {
    below[r] = share_of<A>(axis_y, cell.row, at_most(y + r, y1 - 1));
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    right[c] = share_of<A>(axis_x, cell.column, at_most(x + c, x1 - 1));
  }
}

// Whether a class may be the best of any pixel, whose best ones so far are at least `least`: pixels
// lie between the corners, but for what rounding adds.
template <typename A>
SCRN_DEVICE bool may_win(const Values<A>& v, A least) {
  constexpr A kMargin = sizeof(A) == 4 ? A(1e-6) : A(1e-15);
  least -= (least < A(0) ? -least : least) * kMargin;
  // Not less: so is NaN.
  return !(v.top_left < least && v.top_right < least && v.bottom_left < least &&
           v.bottom_right < least);
}

template <typename T, typename A, bool kConfidence>
__global__ void __launch_bounds__(kThreads, kResidentBlocks<A>)
    argmax_kernel(const ArgmaxParams p, const Steps steps, const Axis axis_y, const Axis axis_x,
                  const Work work) {
  const int lane = threadIdx.x % kWarp;
  const int64_t classes = p.shape.classes;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
       unit < work.total; unit += static_cast<int64_t>(gridDim.x) * kWarps) {
    const Cell cell = cell_of(work, unit, lane);
    const auto [image, row, column] = cell;
    if (column >= axis_x.in_size) continue;
    const T* const logits = static_cast<const T*>(p.logits) + image * steps.image;
    const Corners corners =
        offsets_of(nodes_of(steps, axis_y.in_size, axis_x.in_size, row, column), steps.column);
    const int32_t y0 = first_output(axis_y, row), y1 = first_output(axis_y, row + 1);
    const int32_t x0 = first_output(axis_x, column), x1 = first_output(axis_x, column + 1);
    for (int32_t y = y0; y < y1; y += kRows<A>) {
      for (int32_t x = x0; x < x1; x += kColumns) {
        A below[kRows<A>], right[kColumns];
        shares_of(axis_y, axis_x, cell, y, y1, x, x1, below, right);
        A best[kRows<A>][kColumns] = {}, sum[kRows<A>][kColumns] = {};
        int32_t label[kRows<A>][kColumns] = {};
        A least = -static_cast<A>(INFINITY);
        const T* plane = logits;
        for (int32_t k = 0; k < classes; ++k, plane += steps.plane) {
          const Values<A> v = bounded(load_values<T, A>(plane, corners));
          if constexpr (!kConfidence) {
            if (!may_win(v, least)) continue;
            least = static_cast<A>(INFINITY);
          }
#pragma unroll
          for (int r = 0; r < kRows<A>; ++r) {
            if (y + r >= y1) break;
            const A left = between(v.top_left, v.bottom_left, below[r]);
            const A end = between(v.top_right, v.bottom_right, below[r]);
#pragma unroll
            for (int c = 0; c < kColumns; ++c) {
              const A value = between(left, end, right[c]);
              // As torch.argmax: the first of equal values, and NaN above all.
              const bool known = best[r][c] == best[r][c];
              const bool takes = k == 0 || (known && !(value <= best[r][c]));
              if constexpr (kConfidence) {
                if (takes && k > 0) {
                  sum[r][c] *= std::exp2((best[r][c] - value) * kLog2e<A>);
                }
                sum[r][c] +=
                    takes && value == value ? A(1) : std::exp2((value - best[r][c]) * kLog2e<A>);
              }
              if (takes) {
                best[r][c] = value;
                label[r][c] = k;
              }
              if (best[r][c] < least) least = best[r][c];
            }
          }
        }
#pragma unroll
        for (int r = 0; r < kRows<A>; ++r) {
#pragma unroll
          for (int c = 0; c < kColumns; ++c) {
            if (y + r >= y1 || x + c >= x1) continue;
            const int64_t pixel = (image * axis_y.out_size + y + r) * axis_x.out_size + x + c;
            if (p.label_type == LabelType::kUint8) {
              static_cast<uint8_t*>(p.labels)[pixel] = static_cast<uint8_t>(label[r][c]);
            } else {
              static_cast<int64_t*>(p.labels)[pixel] = label[r][c];
            }
            if constexpr (kConfidence) {
              // No softmax exists where all classes are minus infinity.
              const A share = best[r][c] < kInfinite<A> ? static_cast<A>(NAN) : A(1) / sum[r][c];
              p.confidence[pixel] = static_cast<float>(share);
            }
          }
        }
      }
    }
  }
}

}  // namespace scrn::classify::cuda
