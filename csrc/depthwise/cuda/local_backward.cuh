#pragma once

// The backward of a 5x5 convolution whose result's gradient lies in the workspace: that of the
// input, and of the weights what a tile has of it.

#include "partial_sums.cuh"

namespace scrn::depthwise::cuda {

struct LocalBackward {
  UnitShape shape;
  const void* grad_local = nullptr;  // [B,C,H,W], contiguous, accumulate type
  const void* input = nullptr;
  const void* weights = nullptr;  // [C,taps], the 5x5 kernel's in front
  void* grad_input = nullptr;     // null: not wanted
  void* partial = nullptr;        // [C,parts,taps], accumulate type; null: not wanted
  Works works;
  Steps steps;  // of the input
  int taps = 0;
};

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
    local_backward_kernel(LocalBackward p) {
  using Tile = LocalBackwardTile<A, kChannels, kColumns, kRows>;
  constexpr int kGroup = Tile::kGroup, kBlock = Tile::kBlock, kStep = Tile::kStep;
  constexpr int kHalo = kLocal / 2;
  SCRN_DYNAMIC_SHARED(A, shared);
  const UnitShape& s = p.shape;
  const Rows<A> grads{shared + Tile::kGradAt, Tile::kInPlane, Tile::kInPitch, 0, Tile::kInRows};
  const Rows<A> inputs{shared + Tile::kInputAt, Tile::kInPlane, Tile::kInPitch, 0, Tile::kInRows};
  const Rows<A> outputs{shared + Tile::kOutputAt, Tile::kOutPlane, Tile::kOutPitch, 0, kStep};
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread % kStep, c = thread / Tile::kSpan;
  const int column = thread / kStep % (Tile::kWidth / Tile::kResults) * Tile::kResults;
  const Steps planes{s.channels * s.height * s.width, int64_t{s.height} * s.width, s.width, 1};

  for (int64_t work = blockIdx.x; work < p.works.total; work += gridDim.x) {
    const Place place = place_of(p.works, work);
    const auto grad =
        View<const A>::of(static_cast<const A*>(p.grad_local), planes, s, place, kGroup);
    const int channels = channels_of(s, place, kGroup);
    const int64_t first_column = place.tile * Tile::kWidth;
    const int64_t begin = place.chunk * p.works.chunk_rows;
    const int64_t end = min_of(begin + p.works.chunk_rows, s.height);
    for (int i = thread; i < kGroup * kLocal * kLocal; i += kBlock) {
      const int channel = i / (kLocal * kLocal), tap = i % (kLocal * kLocal);
      const int64_t at = (place.group * kGroup + channel) * p.taps + tap;
      shared[channel * Tile::kWeights + tap / kLocal * 8 + tap % kLocal] =
          channel < channels ? load_any<WeightsOf<A>, A>(p.weights, s.weight_dtype, at) : A(0);
    }
    A gradient[Tile::kSums];
#pragma unroll
    for (A& each : gradient) each = 0;
    for (int64_t first = begin; first < end; first += kStep) {
      load_tile<kGroup, kBlock, Tile::kInRows, Tile::kInColumns, Tile::kTogether>(
          grad, first - kHalo, first_column - kHalo, grads);
      with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const auto input =
            View<const T>::of(static_cast<const T*>(p.input), p.steps, s, place, kGroup);
        load_tile<kGroup, kBlock, Tile::kInRows, Tile::kInColumns, Tile::kTogether>(
            input, first - kHalo, first_column - kHalo, inputs);
      });
      __syncthreads();
      A sum[Tile::kResults];
      local_backward_row<Tile>(grads, inputs, shared, c, row, column, first + row < end, sum,
                               gradient);
      store_row(row_of(outputs, c, row) + column, sum);
      __syncthreads();
      if (p.grad_input != nullptr) {
        with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
          using T = std::remove_pointer_t<decltype(type)>;
          const auto to = View<T>::of(static_cast<T*>(p.grad_input), p.steps, s, place, kGroup);
          store_tile<kGroup, kBlock, kStep, Tile::kWidth>(
              to, first, 0, static_cast<int>(min_of(kStep, end - first)), first_column, outputs);
        });
      }
    }
    if (p.partial != nullptr) {
      A* const scratch = shared + Tile::kGradAt;
      add_up<Tile::kSpan>(gradient, scratch);
      __syncthreads();
      const int64_t part = part_of(p.works, place);
      for (int i = thread; i < channels * Tile::kSums; i += kBlock) {
        const int channel = i / Tile::kSums, tap = i % Tile::kSums;
        const int64_t at = ((place.group * kGroup + channel) * p.works.parts + part) * p.taps + tap;
        static_cast<A*>(p.partial)[at] = added_up<Tile::kSpan>(scratch, Tile::kSums, channel, tap);
      }
    }
    __syncthreads();
  }
}

}  // namespace scrn::depthwise::cuda
