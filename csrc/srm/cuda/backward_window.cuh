#pragma once

// Gradients of Eq. 4 for channels_last: both in one pass over grad_output. A thread holds a few
// channels and walks along a strip of two rows with a 3x3 window of the input and of its gradient
// in registers. A pixel whose taps lie in the window leaves it where it is; otherwise the window
// moves, and the cells that leave it go to memory by reductions: exact for any offsets, cheap for
// smooth ones. Where the input is half as large as the output, both rows fit into one window, so
// that it moves once in four pixels and every cell leaves it about once.

#include "window.cuh"

namespace scrn::srm::cuda {

inline constexpr int kWindowBlocks = 3;  // on a multiprocessor

// Pixels of one run, and of all runs of a block, between two barriers at most.
template <typename A>
inline constexpr int kBatchPixels = 64 / static_cast<int>(sizeof(A));
inline constexpr int kBatchSlots = 128;

// Three times what 132 multiprocessors hold at once: with fewer the last blocks run by themselves.
inline constexpr int64_t kEnoughWindowBlocks = 3 * 132 * kWindowBlocks;

struct WindowPlan {
  int64_t blocks = 0, blocks_per_image = 0, runs_per_image = 0;
  int32_t row_pairs = 0;
  int32_t run = 0;       // columns of two rows that one group of threads walks along
  int32_t vectors = 0;   // threads in a group, one for each vector of channels
  int32_t groups = 0;    // in a block
  int32_t batch = 0;     // pixels of each run whose taps are in shared memory at a time
  int32_t slabs = 0;     // passes over each batch, where the channels are too many for one
  bool aligned = false;  // one access for a vector; otherwise neighbouring threads hold
                         // neighbouring channels, and each its kVector of them `vectors` apart
};

// The pixels that one group of threads walks along: two rows, column by column, or the last one.
struct WindowRun {
  int32_t x, y;    // the first pixel
  int32_t pair;    // 1: there are two rows
  int32_t pixels;  // 0: the group has nothing to do

  SCRN_DEVICE int row(const WindowRun& run, int i) { return run.y + (i & run.pair); }
  SCRN_DEVICE int column(const WindowRun& run, int i) { return run.x + (i >> run.pair); }
};

template <typename T, typename Index>
__global__ void __launch_bounds__(kThreads, kWindowBlocks)
    backward_window_kernel(const SampleBackwardParams p, Accumulate<T>* const grad_input,
                           const WindowPlan plan) {
  using A = Accumulate<T>;
  constexpr int V = kWindowVector<T>;
  constexpr int kRow = kThreads + 1;  // odd, so that reading across the rows meets no bank twice
  SCRN_SHARED(PixelTaps<A>, slots, [kBatchSlots]);
  SCRN_SHARED(A, partial, [2 * kBatchPixels<A>][kRow]);
  SCRN_SHARED(WindowRun, runs, [kThreads]);
  SCRN_SHARED(int64_t, images, [1]);
  const SampleShape& s = p.shape;
  const Index channels = static_cast<Index>(s.channels);
  const int thread = threadIdx.x;
  const int group = thread / plan.vectors, vector = thread - group * plan.vectors;
  const Index out_plane = static_cast<Index>(s.out_h) * s.out_w;

  for (int64_t work = blockIdx.x; work < plan.blocks; work += gridDim.x) {
    // What the walk does not need stays in shared memory: its windows leave no registers for it.
    if (thread < plan.groups) {
      int64_t image, block, strip, pair;
      split(work, plan.blocks_per_image, image, block);
      if (thread == 0) images[0] = image;
      // Runs are counted down the image, so that the groups of a block are rows that share inputs.
      const int64_t number = block * plan.groups + thread;
      split(number, plan.row_pairs, strip, pair);
      WindowRun run;
      run.x = static_cast<int>(strip) * plan.run;
      run.y = 2 * static_cast<int>(pair);
      run.pair = run.y + 1 < s.out_h ? 1 : 0;
      run.pixels =
          number < plan.runs_per_image ? at_most(plan.run, s.out_w - run.x) << run.pair : 0;
      runs[thread] = run;
    }
    __syncthreads();

    Window<T, Index> window;
    window.y = window.x = kEmptyWindow;
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      window.row[r] = 0;
#pragma unroll
      for (int q = 0; q < 3; ++q) {
#pragma unroll
        for (int e = 0; e < V; ++e) window.grad[r][q][e] = window.value[r][q][e] = 0;
      }
    }

    for (int begin = 0; begin < 2 * plan.run; begin += plan.batch) {
      for (int task = thread; task < 2 * plan.groups * plan.batch; task += kThreads) {
        const int dim = task & 1, slot = task >> 1;
        const int slot_group = slot / plan.batch, i = begin + slot - slot_group * plan.batch;
        const WindowRun run = runs[slot_group];
        if (i < run.pixels) {
          const int y = run.row(run, i), x = run.column(run, i);
          const A offset = load_any<OffsetTypes<T>, A>(
              p.offset, p.offset_dtype,
              images[0] * 2 * out_plane +
                  (dim * out_plane + (static_cast<Index>(y) * s.out_w + x)));
          keep_turned(taps_of(s, dim, y, x, offset), dim, slots[slot]);
        }
      }
      __syncthreads();

      const int left = group < plan.groups ? runs[group].pixels - begin : 0;
      const int count = at_most(plan.batch, left);
      const bool last = plan.slabs > 1 || left <= plan.batch;
      for (int slab = 0; slab < plan.slabs && count > 0; ++slab) {
        // The pointers point at the first channel held.
        auto held =
            HeldChannels<T, V, Index>::make(plan.aligned, slab, plan.vectors, vector, s.channels);
        const int64_t in_first = images[0] * s.in_h * s.in_w * s.channels + held.first;
        const WindowMaps<T, Index> maps = {
            p.grad_offset != nullptr ? static_cast<const T*>(p.input) + in_first : nullptr,
            grad_input != nullptr ? grad_input + in_first : nullptr, s.in_h, s.in_w, channels};
        const bool spreads = grad_input != nullptr, gathers = p.grad_offset != nullptr;
        const WindowRun run = runs[group];
        const T* const grads = static_cast<const T*>(p.grad_output) +
                               images[0] * out_plane * s.channels +
                               (static_cast<Index>(run.y) * s.out_w * channels + held.first);
        held.end -= held.first;
        held.first = 0;
        // Down and up again, or along the only row.
        Index step = run.pair != 0 ? static_cast<Index>(s.out_w) * channels : channels;
        Index ahead = run.column(run, begin) * channels;
        const auto advance = [&] {
          ahead += step;
          step = run.pair != 0 ? channels - step : channels;
        };
        if ((begin & run.pair) != 0) advance();
        // Two pixels ahead, since memory takes longer than one pixel.
        Packed<T, V> next = load_held(grads + ahead, held), after = (packed_zeros<T, V>());
        if (count > 1) {
          advance();
          after = load_held(grads + ahead, held);
        }
        const PixelTaps<A>* taps = slots + group * plan.batch;
        A* sums = &partial[0][thread];
#pragma unroll 1
        for (int i = 0; i < count; ++i) {
          const int x = taps->first[0], y = taps->first[1];
          const bool inside = (x | y) >= 0;
          const bool within_x = covers(window.x, x, taps->active[0]);
          const bool within_y = covers(window.y, y, taps->active[1]);
          if (inside && !(within_x && within_y)) {
            move_window(window, within_y ? window.y : y, within_x ? window.x : x, maps, held);
          }
          A u[V];
          unpack<T>(next, u);
          next = after;
          if (i + 2 < count) {
            advance();
            after = load_held(grads + ahead, held);
          }
          A d[2] = {A(0), A(0)};
          if (inside) {
            if (spreads) spread(window, *taps, u, maps, held);
            if (gathers) gather(window, *taps, u, maps, held, d);
          }
          if (slab > 0) {
            d[0] += sums[0];
            d[1] += sums[kRow];
          }
          sums[0] = d[0];
          sums[kRow] = d[1];
          sums += 2 * kRow;
          ++taps;
        }
        if (last) empty_window(window, maps, held);
      }
      __syncthreads();

      if (p.grad_offset == nullptr) continue;
      for (int task = thread; task < 2 * plan.groups * plan.batch; task += kThreads) {
        const int row = task / plan.batch, i = task - row * plan.batch;
        const int dim = row & 1, slot_group = row >> 1;
        const WindowRun run = runs[slot_group];
        if (begin + i < run.pixels) {
          const int y = run.row(run, begin + i), x = run.column(run, begin + i);
          A sum = A(0);
#pragma unroll 8
          for (int v = 0; v < plan.vectors; ++v) {
            sum += partial[2 * i + dim][slot_group * plan.vectors + v];
          }
          store_any<OffsetTypes<T>>(
              p.grad_offset, p.offset_dtype,
              images[0] * 2 * out_plane + (dim * out_plane + (static_cast<Index>(y) * s.out_w + x)),
              sum);
        }
      }
    }
    __syncthreads();
  }
}

template <typename T>
WindowPlan plan_window(const SampleBackwardParams& p, const void* grad_input,
                       const LaunchOptions& options) {
  constexpr int V = kWindowVector<T>;
  const SampleShape& s = p.shape;
  WindowPlan plan;
  plan.aligned = s.channels % V == 0 && aligned16(p.input) && aligned16(p.grad_output) &&
                 aligned16(grad_input);
  const int64_t vectors = ceil_div(s.channels, V);
  // Whole warps walk together where there are more channels than one holds: several slabs rather
  // than threads without channels.
  plan.vectors = static_cast<int32_t>(std::min<int64_t>(vectors, kThreads));
  if (vectors > 32) {
    for (plan.vectors = kThreads; plan.vectors > 32; plan.vectors /= 2) {
      if (5 * vectors >= 4 * ceil_div(vectors, plan.vectors) * plan.vectors) break;
    }
  }
  plan.slabs = static_cast<int32_t>(ceil_div(vectors, plan.vectors));
  plan.groups = kThreads / plan.vectors;
  plan.batch = std::min(kBatchPixels<Accumulate<T>>, kBatchSlots / plan.groups);
  plan.row_pairs = static_cast<int32_t>(ceil_div(s.out_h, 2));
  // The longer a run, the fewer cells are added to memory twice.
  for (plan.run = 32;; plan.run /= 2) {
    plan.runs_per_image = ceil_div(s.out_w, plan.run) * plan.row_pairs;
    plan.blocks_per_image = ceil_div(plan.runs_per_image, plan.groups);
    plan.blocks = plan.blocks_per_image * s.batch;
    if (plan.blocks >= enough(kEnoughWindowBlocks, options) || plan.run == 4) break;
  }
  return plan;
}

}  // namespace scrn::srm::cuda
