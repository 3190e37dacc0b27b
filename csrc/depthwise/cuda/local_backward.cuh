#pragma once

// The backward of a 5x5 convolution whose result's gradient lies in the workspace: that of the
// input, and of the weights what a tile has of it.

#include "multi_scale_tile.cuh"
#include "sums.cuh"

namespace scrn::depthwise::cuda {

// Of kGroup channels, kWidth columns, and kStep rows at a time.
template <typename A, int kChannels, int kColumns, int kRows>
struct LocalBackwardTile {
  static constexpr int kGroup = kChannels, kWidth = kColumns, kStep = kRows;
  static constexpr int kResults = kWidth < 32 ? 4 : 8;     // neighbours of a row to a thread
  static constexpr int kSpan = kStep * kWidth / kResults;  // threads of a channel
  static constexpr int kBlock = kGroup * kSpan;
  static constexpr int kMinBlocks = sizeof(A) == 8 ? 1 : 512 / kBlock;
  static constexpr int kTogether = kWidth < 32 ? 1 : 2;  // lines that are loaded at a time
  static constexpr int kInColumns = kWidth + kLocal - 1, kInRows = kStep + kLocal - 1;
  static constexpr int kInPitch = row_pitch(kInColumns), kOutPitch = row_pitch(kWidth);
  static constexpr int kInPlane = plane_pitch(kInRows * kInPitch);
  static constexpr int kOutPlane = plane_pitch(kStep * kOutPitch);
  static constexpr int kWeights = kLocal * 8;
  static constexpr int kSums = kLocal * kLocal + 1;

  static constexpr int kGradAt = kGroup * kWeights;
  static constexpr int kInputAt = kGradAt + kGroup * kInPlane;
  static constexpr int kOutputAt = kInputAt + kGroup * kInPlane;
  static constexpr int kElements = kOutputAt + kGroup * kOutPlane;
  static constexpr int kBytes = kElements * static_cast<int>(sizeof(A));
  static_assert(kBlock / kSegment<kSpan> * kSums <= kGroup * kInPlane, "the sums fit");
  static_assert(kBytes <= kSharedEverywhere, "it fits everywhere");
};

// A thread's row of results, and what its gradients add to those of the weights.
template <typename Tile, typename A>
SCRN_DEVICE void local_backward_row(const Rows<A>& grads, const Rows<A>& inputs, const A* weights,
                                    int c, int row, int column, bool inside,
                                    A (&sum)[Tile::kResults], A (&gradient)[Tile::kSums]) {
  constexpr int kWindow = Tile::kResults + kLocal - 1, kHalo = kLocal / 2;
  A own[Tile::kResults];
  {
    A window[kWindow];
    load_row(window, row_of(grads, c, row + kHalo) + column);
#pragma unroll
    for (int e = 0; e < Tile::kResults; ++e) own[e] = inside ? window[e + kHalo] : A(0);
  }
#pragma unroll
  for (A& each : sum) each = 0;
#pragma unroll
  for (int dy = 0; dy < kLocal; ++dy) {
    A grad[kWindow], input[kWindow];
    load_row(grad, row_of(grads, c, row + dy) + column);
    load_row(input, row_of(inputs, c, row + dy) + column);
    const A* const taps = weights + c * Tile::kWeights + (kLocal - 1 - dy) * 8;
#pragma unroll
    for (int dx = 0; dx < kLocal; ++dx) {
      const A weight = taps[kLocal - 1 - dx];
#pragma unroll
      for (int e = 0; e < Tile::kResults; ++e) {
        sum[e] += weight * grad[e + dx];
        gradient[dy * kLocal + dx] += own[e] * input[e + dx];
      }
    }
  }
#pragma unroll
  for (int e = 0; e < Tile::kResults; ++e) gradient[kLocal * kLocal] += own[e];
}

template <typename A, int kChannels, int kColumns, int kRows>
__global__ void __launch_bounds__((LocalBackwardTile<A, kChannels, kColumns, kRows>::kBlock),
                                  (LocalBackwardTile<A, kChannels, kColumns, kRows>::kMinBlocks))
    local_backward_kernel(const MultiScaleParams p) {
  using Tile = LocalBackwardTile<A, kChannels, kColumns, kRows>;
  constexpr int kGroup = Tile::kGroup, kBlock = Tile::kBlock, kStep = Tile::kStep;
  constexpr int kHalo = kLocal / 2;
  SCRN_DYNAMIC_SHARED(A, shared);
  SCRN_SHARED(Corner, corner, );
  const UnitShape& s = p.shape;
  const Rows<A> grads{shared + Tile::kGradAt, Tile::kInPlane, Tile::kInPitch, 0, Tile::kInRows};
  const Rows<A> inputs{shared + Tile::kInputAt, Tile::kInPlane, Tile::kInPitch, 0, Tile::kInRows};
  const Rows<A> outputs{shared + Tile::kOutputAt, Tile::kOutPlane, Tile::kOutPitch, 0, kStep};
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread % kStep, c = thread / Tile::kSpan;
  const int column = thread / kStep % (Tile::kWidth / Tile::kResults) * Tile::kResults;
  const Steps planes = steps_of(s, false);

  for_tiles<kGroup>(p, corner, [&] {
    const int channels = channels_of(s, corner, kGroup);
    const auto grad =
        View<const A>::of(static_cast<const A*>(p.grad_local), planes, s, corner, channels);
    const int64_t first_column = corner.x0, begin = corner.y0, end = corner.y1;
    load_weights<kGroup, kBlock>(
        p, corner, p.taps, 0, kLocal * kLocal, shared, [](int channel, int tap) {
          return channel * Tile::kWeights + tap / kLocal * 8 + tap % kLocal;
        });
    A gradient[Tile::kSums];
#pragma unroll
    for (A& each : gradient) each = 0;
    for (int64_t first = begin; first < end; first += kStep) {
      load_tile<kGroup, kBlock, Tile::kInRows, Tile::kInColumns, Tile::kTogether>(
          grad, first - kHalo, first_column - kHalo, grads);
      with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const auto input =
            View<const T>::of(static_cast<const T*>(p.input), p.steps, s, corner, channels);
        load_tile<kGroup, kBlock, Tile::kInRows, Tile::kInColumns, Tile::kTogether>(
            input, first - kHalo, first_column - kHalo, inputs);
      });
      __syncthreads();
      A sum[Tile::kResults];
      local_backward_row<Tile>(grads, inputs, shared, c, row, column, first + row < end, sum,
                               gradient);
      store_row(row_of(outputs, c, row) + column, sum);
      __syncthreads();
      if (p.output != nullptr) {
        with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
          using T = std::remove_pointer_t<decltype(type)>;
          const auto to = View<T>::of(static_cast<T*>(p.output), p.steps, s, corner, channels);
          store_tile<kGroup, kBlock, kStep, Tile::kWidth>(
              to, first, 0, static_cast<int>(min_of(kStep, end - first)), first_column, outputs);
        });
      }
    }
    if (p.partial != nullptr) {
      A* const scratch = shared + Tile::kGradAt;
      add_up<Tile::kSpan>(gradient, scratch);
      __syncthreads();
      write_tile_sums<kGroup, Tile::kSpan, kBlock>(scratch, Tile::kSums, Tile::kSums, p.taps, p,
                                                   corner);
    }
  });
}

}  // namespace scrn::depthwise::cuda
