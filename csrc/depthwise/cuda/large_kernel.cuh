#pragma once

// Large kernel: l is a 5x5 convolution, the result a dilated 7x7 one of l.
//
// A block walks down a band of its columns. Of l, which is zero outside of the image, it keeps in
// shared memory the rows that the dilated convolution still needs; the rows of the input pass
// through in chunks. A thread's outputs lie `dilation` rows apart, so that they share what they
// read.

#include "convolve.cuh"

namespace scrn::depthwise::cuda {

inline constexpr int kLargeTaps = kLocal * kLocal + 1 + kDilated * kDilated + 1;

// D = 0: the dilation is known at run time only. Planes of either layout are then taken one by one,
// by little code.
template <int P, int D>
struct LargeKernelTile {
  static constexpr bool kDense = P == 1 && D > 0;
  static constexpr int kFirst = D > 0 ? kLocal : 0, kSecond = D > 0 ? kDilated : 0;  // edges
  static constexpr int kWidth = kDense ? 64 : 32;
  static constexpr int kOutputs = D > 0 ? 11 : 5;  // of a thread
  static constexpr int kChunk = (P == 1 ? 3 : P == 4 ? 2 : 1) * kOutputs;

  int dilation, reach, groups, step;
  int local_rows, local_columns, local_pitch, chunk_columns, chunk_pitch;
  int local_elements, chunk_elements;

  SCRN_HOST_DEVICE constexpr LargeKernelTile make(int wanted) {
    LargeKernelTile t{};
    t.dilation = D > 0 ? D : wanted;
    t.reach = kDilated / 2 * t.dilation;
    t.groups = D > 0 || kOutputs * t.dilation >= 20 ? 1 : 30 / (kOutputs * t.dilation);
    t.step = kOutputs * t.dilation * t.groups;
    t.local_rows = t.step + 2 * t.reach;
    t.local_columns = kWidth + 2 * t.reach;
    t.local_pitch = plane_pitch_of<P>(t.local_rows * t.local_columns);
    t.local_elements = P * t.local_pitch;
    t.chunk_columns = t.local_columns + kLocal - 1;
    t.chunk_pitch = plane_pitch_of<P>((kChunk + kLocal - 1) * t.chunk_columns);
    t.chunk_elements = P * t.chunk_pitch;
    if (t.chunk_elements < kStaging<P, kOutputs>) t.chunk_elements = kStaging<P, kOutputs>;
    return t;
  }
  // Of shared memory, beside `others`.
  SCRN_HOST_DEVICE constexpr int elements(const LargeKernelTile& t, int others) {
    return kWeightElements<P, kFirst> + others + t.local_elements + t.chunk_elements;
  }
  SCRN_HOST_DEVICE constexpr int forward_elements(const LargeKernelTile& t) {
    return elements(t, kWeightElements<P, kSecond>);
  }
  SCRN_HOST_DEVICE constexpr int sums_elements(const LargeKernelTile& t) {
    return elements(t, WeightSums<kSecond, float>::kShared);
  }
  // Warps' tasks in each plane, and where they are.
  SCRN_DEVICE int tasks(const LargeKernelTile& t) { return kWidth / kWarp * t.dilation * t.groups; }
  SCRN_DEVICE Spot spot(const LargeKernelTile& t, int task) {
    const int block = task % (kWidth / kWarp), run = task / (kWidth / kWarp);
    return {run / t.dilation * (kOutputs * t.dilation) + run % t.dilation, t.dilation,
            block * kWarp};
  }
};

// Loads the weights of both convolutions, one behind the other, and returns where the second's are.
template <typename Tile, int P, typename A>
SCRN_DEVICE A* load_kernels(A* to, const TileParams& p, const Corner& corner, bool flipped) {
  A* const dilated = to + kWeightElements<P, Tile::kFirst>;
  load_kernel<P, Tile::kFirst>(to, p, corner, kLocal, kLargeTaps, 0, flipped);
  load_kernel<P, Tile::kSecond>(dilated, p, corner, kDilated, kLargeTaps, kLocal * kLocal + 1,
                                flipped);
  return dilated;
}

// Calls use(y0, local, staging) for every step of a band, with rows y0 - reach .. of l.
template <int P, int D, typename A, typename Use>
SCRN_DEVICE void walk(const LargeKernelTile<P, D>& t, const UnitShape& s, const void* input,
                      const A* weights, const Corner& corner, A* shared, Use&& use) {
  using Tile = LargeKernelTile<P, D>;
  constexpr int kRadius = kLocal / 2, kOutputs = Tile::kOutputs;
  const Planes<P, A> local{shared, t.local_columns, t.local_columns, t.local_pitch};
  const Planes<P, A> chunk{shared + t.local_elements, t.chunk_columns, t.chunk_columns,
                           t.chunk_pitch};
  for (int64_t y0 = corner.y0; y0 < corner.y1; y0 += t.step) {
    __syncthreads();
    const bool is_first = y0 == corner.y0;
    const int kept = is_first ? 0 : 2 * t.reach;
    // A thread takes whole columns: what it overwrites it has read.
    for (int e = threadIdx.x; kept > 0 && e < P * t.local_columns; e += kTileThreads) {
      A* const column = Planes<P, A>::at(local, e / t.local_columns, 0, e % t.local_columns);
      for (int row = 0; row < kept; ++row) {
        column[row * local.pitch] = column[(row + t.step) * local.pitch];
      }
    }
    for (int row0 = kept; row0 < t.local_rows; row0 += Tile::kChunk) {
      const int rows = at_most(Tile::kChunk, t.local_rows - row0);
      const int64_t y = y0 - t.reach + row0, x = corner.x0 - t.reach;
      const bool is_outside = y + rows <= 0 || y >= s.height;
      __syncthreads();
      if (!is_outside) {
        with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
          using T = std::remove_pointer_t<decltype(type)>;
          const auto from = view_of<P, Tile::kDense, T>(s, input, corner);
          load_rows(chunk, rows + kLocal - 1, from, y - kRadius, x - kRadius);
        });
      }
      __syncthreads();
      constexpr int kRuns = Tile::kChunk / kOutputs;
      for (int e = threadIdx.x; e < P * kRuns * t.local_columns; e += kTileThreads) {
        const int column = e % t.local_columns, run = e / t.local_columns % kRuns;
        const int plane = e / t.local_columns / kRuns;
        const bool has = !is_outside && x + column >= 0 && x + column < s.width;
        const A bias = has ? weights[P * kWeights<Tile::kFirst> + plane] : A(0);
        A value[kOutputs];
#pragma unroll
        for (A& each : value) each = bias;
        if (has) {
          convolve<Tile::kFirst>(Planes<P, A>::at(chunk, plane, run * kOutputs, column), kLocal,
                                 chunk.pitch, 1, weights + plane * kWeights<Tile::kFirst>, value);
        }
#pragma unroll
        for (int r = 0; r < kOutputs; ++r) {
          const int row = run * kOutputs + r;
          if (row >= rows) break;
          const bool inside = y + row >= 0 && y + row < s.height;
          *Planes<P, A>::at(local, plane, row0 + row, column) = inside ? value[r] : A(0);
        }
      }
    }
    __syncthreads();
    use(y0, local, chunk.data);
  }
}

template <typename A, int P, int D>
__global__ void __launch_bounds__(kTileThreads, 2) large_kernel_forward_kernel(const TileParams p) {
  using Tile = LargeKernelTile<P, D>;
  constexpr int N = Tile::kOutputs;
  SCRN_DYNAMIC_SHARED(A, shared);
  SCRN_SHARED(Corner, corner, );
  const UnitShape& s = p.shape;
  const Tile t = Tile::make(s.dilation);
  A* const maps = shared + kWeightElements<P, Tile::kFirst> + kWeightElements<P, Tile::kSecond>;
  for_tiles<P>(p, corner, [&] {
    const A* const dilated = load_kernels<Tile, P>(shared, p, corner, false);
    walk<P, D>(t, s, p.input, shared, corner, maps,
               [&](int64_t y0, const Planes<P, A>& local, A* staging) {
                 const auto spot_of = [&](int task) { return Tile::spot(t, task); };
                 write_outputs<P, N, Tile::kDense>(
                     s, p.output, corner, y0, staging, Tile::tasks(t), spot_of,
                     [&](int plane, const Spot& spot, A(&value)[N]) {
#pragma unroll
                       for (A& each : value) each = dilated[P * kWeights<Tile::kSecond> + plane];
                       const int column = spot.column + static_cast<int>(threadIdx.x) % kWarp;
                       convolve<Tile::kSecond>(Planes<P, A>::at(local, plane, spot.row, column),
                                               kDilated, t.dilation * local.pitch, t.dilation,
                                               dilated + plane * kWeights<Tile::kSecond>, value);
                     });
               });
  });
}

// What a tile adds to the gradients of the dilated convolution's weights and bias.
template <typename A, int P, int D>
__global__ void __launch_bounds__(kTileThreads, 2) large_kernel_sums_kernel(const TileParams p) {
  using Tile = LargeKernelTile<P, D>;
  using Sums = WeightSums<Tile::kSecond, A>;
  constexpr int N = Tile::kOutputs;
  SCRN_DYNAMIC_SHARED(A, shared);
  SCRN_SHARED(Corner, corner, );
  const UnitShape& s = p.shape;
  const Tile t = Tile::make(s.dilation);
  A* const warps = shared + kWeightElements<P, Tile::kFirst>;
  A* const maps = warps + Sums::kShared;
  for_tiles<P>(p, corner, [&] {
    load_kernel<P, Tile::kFirst>(shared, p, corner, kLocal, kLargeTaps, 0, false);
    Sums sums;
    clear(sums, warps);
    walk<P, D>(t, s, p.input, shared, corner, maps,
               [&](int64_t y0, const Planes<P, A>& local, A* staging) {
                 const auto spot_of = [&](int task) { return Tile::spot(t, task); };
                 read_outputs<P, N, Tile::kDense>(
                     s, p.grad, corner, y0, staging, Tile::tasks(t), spot_of,
                     [&](int plane, const Spot& spot, const A(&grad)[N]) {
                       const int column = spot.column + static_cast<int>(threadIdx.x) % kWarp;
                       correlate(Planes<P, A>::at(local, plane, spot.row, column), kDilated,
                                 t.dilation * local.pitch, t.dilation, grad, sums, warps);
                     });
               });
    write_sums<P>(sums, kDilated * kDilated + 1, warps, p, corner);
  });
}

// The other way: dl is the transposed dilated convolution of the output's gradient, zero outside of
// the image, and the input's gradient the transposed 5x5 one of dl.
template <int P, int D>
struct LargeKernelInputTile {
  static constexpr bool kDense = P == 1 && D > 0;
  static constexpr int kFirst = D > 0 ? kLocal : 0, kSecond = D > 0 ? kDilated : 0;  // edges
  static constexpr int kWidth = kDense ? 64 : 32;
  static constexpr int kOutputs = D > 0 ? 11 : 5, kGroups = D > 0 ? 3 : 5;
  static constexpr int kStep = kOutputs * kGroups;
  static constexpr int kBetween = D > 0 ? 13 : 5;  // rows of dl of a thread
  static constexpr int kColumns = kWidth + kLocal - 1;

  int dilation, reach, groups;
  int rows, pitch, elements_of_local;
  int grad_rows, grad_columns, grad_pitch, elements_of_grad;

  SCRN_HOST_DEVICE constexpr LargeKernelInputTile make(int wanted) {
    LargeKernelInputTile t{};
    t.dilation = D > 0 ? D : wanted;
    t.reach = kDilated / 2 * t.dilation;
    t.groups = (kStep + kLocal - 1 + kBetween * t.dilation - 1) / (kBetween * t.dilation);
    t.rows = kBetween * t.dilation * t.groups;
    t.pitch = plane_pitch_of<P>(t.rows * kColumns);
    t.elements_of_local = P * t.pitch;
    t.grad_rows = t.rows + 2 * t.reach;
    t.grad_columns = kColumns + 2 * t.reach;
    t.grad_pitch = plane_pitch_of<P>(t.grad_rows * t.grad_columns);
    t.elements_of_grad = P * t.grad_pitch;
    return t;
  }
  // The input's rows, and what passes through in stages, take the place of the gradient's.
  static constexpr int kInputPitch = plane_pitch_of<P>((kStep + kLocal - 1) * kColumns);
  static_assert(D == 0 || P * kInputPitch + kStaging<P, kOutputs> <=
                              P * (kBetween * D + 6 * D) * (kColumns + 6 * D),
                "they do not fit");

  SCRN_HOST_DEVICE constexpr int elements(const LargeKernelInputTile& t) {
    return kWeightElements<P, kFirst> + kWeightElements<P, kSecond> +
           WeightSums<kFirst, float>::kShared + t.elements_of_local + t.elements_of_grad;
  }
};

template <typename A, int P, int D>
__global__ void __launch_bounds__(kTileThreads, 2) large_kernel_input_kernel(const TileParams p) {
  using Tile = LargeKernelInputTile<P, D>;
  constexpr int N = Tile::kOutputs, kBetween = Tile::kBetween, kRadius = kLocal / 2;
  constexpr int kBlocks = Tile::kWidth / kWarp;
  using Sums = WeightSums<Tile::kFirst, A>;
  SCRN_DYNAMIC_SHARED(A, shared);
  SCRN_SHARED(Corner, corner, );
  const UnitShape& s = p.shape;
  const Tile t = Tile::make(s.dilation);
  A* const warps = shared + kWeightElements<P, Tile::kFirst> + kWeightElements<P, Tile::kSecond>;
  A* const rest = warps + Sums::kShared;
  const Planes<P, A> local{rest, Tile::kColumns, Tile::kColumns, t.pitch};
  const Planes<P, A> grad{rest + t.elements_of_local, t.grad_columns, t.grad_columns, t.grad_pitch};
  const Planes<P, A> input{grad.data, Tile::kColumns, Tile::kColumns, Tile::kInputPitch};
  const auto spot_of = [&](int task) {
    return Spot{task / kBlocks * N, 1, task % kBlocks * kWarp};
  };
  constexpr int kTasks = Tile::kGroups * kBlocks;
  for_tiles<P>(p, corner, [&] {
    const A* const dilated = load_kernels<Tile, P>(shared, p, corner, true);
    Sums sums;
    clear(sums, warps);
    for (int64_t y0 = corner.y0; y0 < corner.y1; y0 += Tile::kStep) {
      const int64_t y = y0 - kRadius, x = corner.x0 - kRadius;
      const auto load = [&](const Planes<P, A>& to, int rows, const void* map, int64_t row,
                            int64_t column) {
        with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
          using T = std::remove_pointer_t<decltype(type)>;
          load_rows(to, rows, view_of<P, Tile::kDense, T>(s, map, corner), row, column);
        });
      };
      __syncthreads();
      load(grad, t.grad_rows, p.grad, y - t.reach, x - t.reach);
      __syncthreads();
      const int runs = t.dilation * t.groups;
      for (int e = threadIdx.x; e < P * runs * Tile::kColumns; e += kTileThreads) {
        const int column = e % Tile::kColumns, run = e / Tile::kColumns % runs;
        const int plane = e / Tile::kColumns / runs;
        const int row0 = run / t.dilation * (kBetween * t.dilation) + run % t.dilation;
        A value[kBetween];
#pragma unroll
        for (A& each : value) each = A(0);
        const bool has = x + column >= 0 && x + column < s.width;
        if (has) {
          convolve<Tile::kSecond>(Planes<P, A>::at(grad, plane, row0, column), kDilated,
                                  t.dilation * grad.pitch, t.dilation,
                                  dilated + plane * kWeights<Tile::kSecond>, value);
        }
#pragma unroll
        for (int r = 0; r < kBetween; ++r) {
          const int row = row0 + r * t.dilation;
          const bool inside = has && y + row >= 0 && y + row < s.height;
          *Planes<P, A>::at(local, plane, row, column) = inside ? value[r] : A(0);
        }
      }
      __syncthreads();
      if (p.partial != nullptr) load(input, Tile::kStep + kLocal - 1, p.input, y, x);
      if (p.output != nullptr) {
        A* const staging = input.data + P * Tile::kInputPitch;
        write_outputs<P, N, Tile::kDense>(
            s, p.output, corner, y0, staging, kTasks, spot_of,
            [&](int plane, const Spot& spot, A(&value)[N]) {
              const int column = spot.column + static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
              for (A& each : value) each = A(0);
              convolve<Tile::kFirst>(Planes<P, A>::at(local, plane, spot.row, column), kLocal,
                                     local.pitch, 1, shared + plane * kWeights<Tile::kFirst>,
                                     value);
            });
      }
      if (p.partial == nullptr) continue;
      __syncthreads();
      const int warp = threadIdx.x / kWarp, plane = warp / kWarpsOfPlane<P>;
      for (int task = warp % kWarpsOfPlane<P>; task < kTasks; task += kWarpsOfPlane<P>) {
        const Spot spot = spot_of(task);
        if (is_outside(spot, s, corner, y0)) continue;
        const int column = spot.column + static_cast<int>(threadIdx.x) % kWarp;
        A value[N];
#pragma unroll
        for (int r = 0; r < N; ++r) {
          value[r] = *Planes<P, A>::at(local, plane, spot.row + r + kRadius, column + kRadius);
        }
        correlate(Planes<P, A>::at(input, plane, spot.row, column), kLocal, input.pitch, 1, value,
                  sums, warps);
      }
    }
    if (p.partial == nullptr) return;
    write_sums<P>(sums, kLocal * kLocal + 1, warps, p, corner);
  });
}

}  // namespace scrn::depthwise::cuda
