#pragma once

// Gradients of Eq. 4 for channels_last: both in one pass over grad_output. A thread holds one
// vector of channels and walks along a row with a 3x3 window of the input and of its gradient in
// registers. Where the base cell moves, the cells that leave the window go to memory by vector
// reductions: exact for any offsets, cheap for smooth ones.

#include "held_channels.cuh"

namespace scrn::cuda {

// Four channels to a thread, 16 bytes of float and 8 of a half type: the window in fp32 and the
// packed inputs would not fit into registers with eight.
template <typename T>
inline constexpr int kWindowVector = std::is_same_v<T, double> ? 2 : 4;

inline constexpr int kBatchPixels = 8;   // of one run, between two barriers at most
inline constexpr int kBatchSlots = 128;  // of all runs of a block

struct WindowPlan {
  int64_t blocks = 0, blocks_per_image = 0, runs_per_image = 0;
  int32_t run = 0;       // pixels in a row that one group of threads walks along
  int32_t vectors = 0;   // threads in a group, one for each vector of channels
  int32_t groups = 0;    // in a block
  int32_t batch = 0;     // pixels of each run whose taps are in shared memory at a time
  int64_t slabs = 0;     // passes over each batch, where the channels are too many for one
  bool aligned = false;  // 16-byte accesses; otherwise neighbouring threads hold neighbouring
                         // channels, and each its kVector of them `vectors` apart
};

// Cell (y, x) of the input lives at [y % 3][x % 3], so that nothing has to be shifted when the
// window moves; the taps in shared memory are turned alike.
template <typename T>
struct Window {
  Accumulate<T> grad[3][3][kWindowVector<T>];
  Packed<T, kWindowVector<T>> value[3][3];
  int y, x;  // the window's first cell, as in Taps
};
// Adds the cells that leave the window to `grad_input` and loads those that come in; a null
// pointer says that this gradient is not wanted, or the input not needed.
template <typename T, typename Index>
SCRN_DEVICE void move_window(Window<T>& window, int y, int x, const SampleShape& s, const T* input,
                             Accumulate<T>* grad_input,
                             const HeldChannels<T, kWindowVector<T>, Index>& held) {
  if (y == window.y && x == window.x) return;
  const Index channels = static_cast<Index>(s.channels);
#pragma unroll
  for (int r = 0; r < 3; ++r) {
    const int from_y = cell_at(window.y, r), to_y = cell_at(y, r);
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      const int from_x = cell_at(window.x, q), to_x = cell_at(x, q);
      if (from_y == to_y && from_x == to_x) continue;
      if (grad_input != nullptr) {
        const Index cell =
            static_cast<Index>(at_most(from_y, s.in_h - 1)) * s.in_w + at_most(from_x, s.in_w - 1);
        add_held(grad_input + cell * channels, held, window.grad[r][q]);
#pragma unroll
        for (int e = 0; e < kWindowVector<T>; ++e) window.grad[r][q][e] = 0;
      }
      if (input != nullptr && y >= 0) {
        const Index cell =
            static_cast<Index>(at_most(to_y, s.in_h - 1)) * s.in_w + at_most(to_x, s.in_w - 1);
        window.value[r][q] = load_held(input + cell * channels, held);
      }
    }
  }
  window.y = y;
  window.x = x;
}

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads, 3)
    backward_window_kernel(const SampleBackwardParams p, Accumulate<T>* const grad_input,
                           const WindowPlan plan) {
  using A = Accumulate<T>;
  constexpr int V = kWindowVector<T>;
  constexpr int kRow = kThreads + 1;  // odd, so that reading across the rows meets no bank twice
  SCRN_SHARED(TapWeights<A>, weights, [2][kBatchSlots]);
  SCRN_SHARED(TapSlopes<A>, slopes, [2][kBatchSlots]);
  SCRN_SHARED(A, partial, [2 * kBatchPixels][kRow]);
  SCRN_SHARED(int2, starts, [kThreads]);  // x and y of each run; y = -1: none
  const SampleShape& s = p.shape;
  const Index channels = static_cast<Index>(s.channels);
  const int thread = threadIdx.x;
  const int group = thread / plan.vectors, vector = thread - group * plan.vectors;
  const Index out_plane = static_cast<Index>(s.out_h) * s.out_w;

  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    int64_t image, block;
    split(work, plan.blocks_per_image, image, block);
    if (thread < plan.groups) {
      // Runs are counted down the image, so that the groups of a block are rows that share inputs.
      const int64_t run = block * plan.groups + thread;
      int64_t strip, line;
      split(run, s.out_h, strip, line);
      starts[thread].x = static_cast<int>(strip) * plan.run;
      starts[thread].y = run < plan.runs_per_image ? static_cast<int>(line) : -1;
    }
    __syncthreads();
    const bool active = group < plan.groups && starts[group].y >= 0;
    const int x0 = active ? starts[group].x : 0, y = active ? starts[group].y : 0;
    const int64_t in_first = image * s.in_h * s.in_w * s.channels;
    const T* input = p.grad_offset != nullptr ? static_cast<const T*>(p.input) + in_first : nullptr;
    A* grad_image = grad_input != nullptr ? grad_input + in_first : nullptr;
    const T* above = static_cast<const T*>(p.grad_output) + image * out_plane * s.channels +
                     (static_cast<Index>(y) * s.out_w + x0) * channels;
    const int64_t plane_first = image * 2 * out_plane;

    Window<T> window;
    window.y = window.x = kEmptyWindow;
#pragma unroll
    for (int r = 0; r < 3; ++r) {
#pragma unroll
      for (int q = 0; q < 3; ++q) {
        window.value[r][q] = (packed_zeros<T, V>());
#pragma unroll
        for (int e = 0; e < V; ++e) window.grad[r][q][e] = 0;
      }
    }

    for (int begin = 0; begin < plan.run; begin += plan.batch) {
      const int count = at_most(plan.batch, at_most(plan.run - begin, s.out_w - (x0 + begin)));
      for (int task = thread; task < 2 * plan.groups * plan.batch; task += kThreads) {
        const int dim = task & 1, slot = task >> 1;
        const int slot_group = slot / plan.batch, i = slot - slot_group * plan.batch;
        const int slot_x = starts[slot_group].x + begin + i, slot_y = starts[slot_group].y;
        if (slot_y >= 0 && slot_x < s.out_w) {
          const A offset = load_any<OffsetTypes<T>, A>(
              p.offset, p.offset_dtype,
              plane_first + (dim * out_plane + (static_cast<Index>(slot_y) * s.out_w + slot_x)));
          const Taps<A> taps = taps_of(s, dim, slot_y, slot_x, offset);
          keep_taps(taps, weights[dim][slot], slopes[dim][slot], taps.first % 3);
        }
      }
      __syncthreads();

      for (int64_t slab = 0; slab < plan.slabs && active; ++slab) {
        const auto held =
            HeldChannels<T, V, Index>::make(plan.aligned, slab, plan.vectors, vector, s.channels);
        const bool last =
            plan.slabs > 1 || begin + plan.batch >= plan.run || x0 + begin + plan.batch >= s.out_w;
        const T* pixel = above + begin * channels;
        Packed<T, V> next = count > 0 ? load_held(pixel, held) : (packed_zeros<T, V>());
        for (int i = 0;; ++i) {
          const bool end = i >= count;
          if (end && !last) break;
          const int slot = group * plan.batch + i;
          TapWeights<A> tx, ty;
          tx.first = ty.first = -1;
          if (!end) {
            tx = weights[0][slot];
            ty = weights[1][slot];
          }
          const Packed<T, V> now = next;
          if (i + 1 < count) {
            pixel += channels;
            next = load_held(pixel, held);
          }
          const bool inside = tx.first >= 0 && ty.first >= 0;
          if (inside || end) {
            move_window(window, end ? kEmptyWindow : ty.first, end ? kEmptyWindow : tx.first, s,
                        input, grad_image, held);
          }
          if (end) break;
          A dx = A(0), dy = A(0);
          if (inside) {
            const TapSlopes<A> sx = slopes[0][slot], sy = slopes[1][slot];
            A u[V];
            unpack<T>(now, u);
#pragma unroll
            for (int r = 0; r < 3; ++r) {
              if ((sy.active >> r & 1) == 0) continue;
#pragma unroll
              for (int q = 0; q < 3; ++q) {
                if ((sx.active >> q & 1) == 0) continue;
                const A weight = ty.weight[r] * tx.weight[q];
                A value[V];
                unpack<T>(window.value[r][q], value);
                A dot = A(0);
#pragma unroll
                for (int e = 0; e < V; ++e) {
                  window.grad[r][q][e] += weight * u[e];
                  dot += value[e] * u[e];
                }
                dx += ty.weight[r] * sx.slope[q] * dot;
                dy += sy.slope[r] * tx.weight[q] * dot;
              }
            }
          }
          if (slab > 0) {
            dx += partial[2 * i][thread];
            dy += partial[2 * i + 1][thread];
          }
          partial[2 * i][thread] = dx;
          partial[2 * i + 1][thread] = dy;
        }
      }
      __syncthreads();

      if (p.grad_offset == nullptr) continue;
      for (int task = thread; task < 2 * plan.groups * plan.batch; task += kThreads) {
        const int row = task / plan.batch, i = task - row * plan.batch;
        const int dim = row & 1, slot_group = row >> 1;
        const int slot_x = starts[slot_group].x + begin + i, slot_y = starts[slot_group].y;
        if (slot_y >= 0 && slot_x < s.out_w && begin + i < plan.run) {
          A sum = A(0);
#pragma unroll 4
          for (int v = 0; v < plan.vectors; ++v) {
            sum += partial[2 * i + dim][slot_group * plan.vectors + v];
          }
          store_any<OffsetTypes<T>>(
              p.grad_offset, p.offset_dtype,
              plane_first + (dim * out_plane + (static_cast<Index>(slot_y) * s.out_w + slot_x)),
              sum);
        }
      }
    }
    __syncthreads();
  }
}

inline WindowPlan plan_window(const SampleBackwardParams& p, const void* grad_input, int vector) {
  const SampleShape& s = p.shape;
  WindowPlan plan;
  plan.aligned = s.channels % vector == 0 && aligned16(p.input) && aligned16(p.grad_output) &&
                 aligned16(grad_input);
  const int64_t vectors = ceil_div(s.channels, vector);
  plan.vectors = static_cast<int32_t>(std::min<int64_t>(std::max<int64_t>(vectors, 1), kThreads));
  plan.slabs = ceil_div(vectors, plan.vectors);
  plan.groups = kThreads / plan.vectors;
  plan.batch = std::min(kBatchPixels, kBatchSlots / plan.groups);
  // The longer a run, the fewer cells are added to memory twice.
  for (int32_t run = 32; run >= kBatchPixels; run /= 2) {
    plan.run = static_cast<int32_t>(ceil_div(run, plan.batch)) * plan.batch;
    plan.runs_per_image = ceil_div(s.out_w, plan.run) * s.out_h;
    plan.blocks_per_image = ceil_div(plan.runs_per_image, plan.groups);
    plan.blocks = plan.blocks_per_image * s.batch;
    if (plan.blocks >= kEnoughBlocks) break;
  }
  return plan;
}

}  // namespace scrn::cuda
