#pragma once

// A depthwise K x K convolution and GELU, by tiles in shared memory: the backward, and the forward
// of what gelu_rows.cuh does not take.

#include "convolve.cuh"
#include "gelu_borders.cuh"
#include "normal.cuh"

namespace scrn::depthwise::cuda {

template <int K, int P>
struct GeluTile {
  static constexpr int kWidth = P == 1 ? 64 : 32, kStep = P == 1 ? 32 : 16;
  static constexpr int kOutputs = 8, kBlocks = kWidth / kWarp;
  static constexpr int kTasks = kBlocks * (kStep / kOutputs);  // of a plane, for a warp each
  // Pitches are those of the largest kernel. The convolution's result is needed as far as a kernel
  // reaches around the tile, and the input once more as far around that.
  static constexpr int kReach = kMostEdge<K> - 1;
  static constexpr int kLocalPitch = kWidth + kReach, kPitch = kLocalPitch + kReach;
  static constexpr int kLocalPlane = plane_pitch_of<P>((kStep + kReach) * kLocalPitch);
  static constexpr int kBetween = 9;  // rows of it of a thread
  static constexpr int kMostRuns = (kStep + kReach + kBetween - 1) / kBetween;
  static constexpr int kPlane = plane_pitch_of<P>((kMostRuns * kBetween + kReach) * kPitch);
  static constexpr int kForwardElements =
      kWeightElements<P, K> + P * kLocalPlane + kStaging<P, kOutputs>;
  static constexpr int kBackwardElements = 2 * kWeightElements<P, K> +
                                           WeightSums<K, float>::kShared +
                                           P * (kLocalPlane + kPlane) + kStaging<P, kOutputs>;

  SCRN_DEVICE Spot spot(int task) { return {task / kBlocks * kOutputs, 1, task % kBlocks * kWarp}; }
  SCRN_DEVICE int edge(const UnitShape& s) { return K > 0 ? K : s.square; }
};

struct GeluParams : TileParams {
  Borders borders;  // of the forward
};

template <typename A, int K, int P>
__global__ void __launch_bounds__(kTileThreads, 2) gelu_forward_kernel(const GeluParams p) {
  using Tile = GeluTile<K, P>;
  constexpr int N = Tile::kOutputs;
  SCRN_DYNAMIC_SHARED(A, shared);
  SCRN_SHARED(Corner, corner, );
  const UnitShape& s = p.shape;
  const int edge = Tile::edge(s), radius = edge / 2, taps = edge * edge + 1;
  const Planes<P, A> input{shared + kWeightElements<P, K>, Tile::kWidth + 2 * radius,
                           Tile::kLocalPitch, Tile::kLocalPlane};
  for_tiles<P>(p, corner, [&] {
    load_kernel<P, K>(shared, p, corner, edge, taps, 0, false);
    for (int64_t y0 = corner.y0; y0 < corner.y1; y0 += Tile::kStep) {
      __syncthreads();
      with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const auto from = view_of<P, false, T>(s, p.input, corner);
        if (p.borders.saved == nullptr) {
          load_rows(input, Tile::kStep + 2 * radius, from, y0 - radius, corner.x0 - radius);
        } else {
          Planes<P, A> own = input;
          own.data = Planes<P, A>::at(input, 0, radius, radius);
          own.columns = Tile::kWidth;
          load_rows(own, Tile::kStep, from, y0, corner.x0);
          load_borders<P, A, T>(input, p.borders, s, corner, y0);
        }
      });
      __syncthreads();
      write_outputs<P, N, false>(
          s, p.output, corner, y0, input.data + P * Tile::kLocalPlane, Tile::kTasks, Tile::spot,
          [&](int plane, const Spot& spot, A(&value)[N]) {
            const int column = spot.column + static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
            for (A& each : value) each = shared[P * kWeights<K> + plane];
            convolve<K>(Planes<P, A>::at(input, plane, spot.row, column), edge, input.pitch, 1,
                        shared + plane * kWeights<K>, value);
#pragma unroll
            for (A& each : value) each = gelu(each);
          });
    }
  });
}

// dl, the gradient of the convolution's result, is zero outside of the image; the input's gradient
// is the transposed convolution of it.
template <typename A, int K, int P>
__global__ void __launch_bounds__(kTileThreads, 2) gelu_backward_kernel(const GeluParams p) {
  using Tile = GeluTile<K, P>;
  using Sums = WeightSums<K, A>;
  constexpr int N = Tile::kOutputs, kBetween = Tile::kBetween;
  SCRN_DYNAMIC_SHARED(A, shared);
  SCRN_SHARED(Corner, corner, );
  const UnitShape& s = p.shape;
  const int edge = Tile::edge(s), radius = edge / 2, taps = edge * edge + 1;
  A* const flipped = shared + kWeightElements<P, K>;
  A* const warps = flipped + kWeightElements<P, K>;
  const int local_rows = Tile::kStep + 2 * radius;
  const Planes<P, A> local{warps + Sums::kShared, Tile::kWidth + 2 * radius, Tile::kLocalPitch,
                           Tile::kLocalPlane};
  const Planes<P, A> input{local.data + P * Tile::kLocalPlane, local.columns + 2 * radius,
                           Tile::kPitch, Tile::kPlane};
  A* const staging = input.data + P * Tile::kPlane;
  for_tiles<P>(p, corner, [&] {
    load_kernel<P, K>(shared, p, corner, edge, taps, 0, false);
    load_kernel<P, K>(flipped, p, corner, edge, taps, 0, true);
    Sums sums;
    clear(sums, warps);
    for (int64_t y0 = corner.y0; y0 < corner.y1; y0 += Tile::kStep) {
      const int64_t y = y0 - radius, x = corner.x0 - radius;
      __syncthreads();
      with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        load_rows(input, local_rows + 2 * radius, view_of<P, false, T>(s, p.input, corner),
                  y - radius, x - radius);
        load_rows(local, local_rows, view_of<P, false, T>(s, p.grad, corner), y, x);
      });
      __syncthreads();
      const int runs = (local_rows + kBetween - 1) / kBetween;
      for (int e = threadIdx.x; e < P * runs * local.columns; e += kTileThreads) {
        const int column = e % local.columns, run = e / local.columns % runs;
        const int plane = e / local.columns / runs;
        const bool has = x + column >= 0 && x + column < s.width;
        if (!has) continue;  // the gradient is zero already
        A value[kBetween];
#pragma unroll
        for (A& each : value) each = shared[P * kWeights<K> + plane];
        convolve<K>(Planes<P, A>::at(input, plane, run * kBetween, column), edge, input.pitch, 1,
                    shared + plane * kWeights<K>, value);
#pragma unroll
        for (int r = 0; r < kBetween; ++r) {
          const int row = run * kBetween + r;
          if (row >= local_rows || y + row < 0 || y + row >= s.height) continue;
          *Planes<P, A>::at(local, plane, row, column) *= gelu_slope(value[r]);
        }
      }
      __syncthreads();
      if (p.output != nullptr) {
        write_outputs<P, N, false>(
            s, p.output, corner, y0, staging, Tile::kTasks, Tile::spot,
            [&](int plane, const Spot& spot, A(&value)[N]) {
              const int column = spot.column + static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
              for (A& each : value) each = A(0);
              convolve<K>(Planes<P, A>::at(local, plane, spot.row, column), edge, local.pitch, 1,
                          flipped + plane * kWeights<K>, value);
            });
      }
      if (p.partial == nullptr) continue;
      const int warp = threadIdx.x / kWarp, plane = warp / kWarpsOfPlane<P>;
      for (int task = warp % kWarpsOfPlane<P>; task < Tile::kTasks; task += kWarpsOfPlane<P>) {
        const Spot spot = Tile::spot(task);
        if (is_outside(spot, s, corner, y0)) continue;
        const int column = spot.column + static_cast<int>(threadIdx.x) % kWarp;
        A value[N];
#pragma unroll
        for (int r = 0; r < N; ++r) {
          value[r] = *Planes<P, A>::at(local, plane, spot.row + r + radius, column + radius);
        }
        correlate(Planes<P, A>::at(input, plane, spot.row + radius, column + radius), edge,
                  input.pitch, 1, value, sums, warps);
      }
    }
    if (p.partial == nullptr) return;
    write_sums<P>(sums, taps, warps, p, corner);
  });
}

}  // namespace scrn::depthwise::cuda
