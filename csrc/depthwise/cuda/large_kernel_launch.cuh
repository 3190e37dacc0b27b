#pragma once

// Large kernel: which tiles a map gets, and the launches.

#include "large_kernel.cuh"
#include "sums.cuh"

namespace scrn::depthwise::cuda {

// Blocks that fill a large device a few times over, so that the last ones do not weigh.
inline constexpr int64_t kManyBlocks = 1024, kSomeBlocks = 528;
// Steps of a band whose sums are added up in float32 by a thread.
inline constexpr int64_t kSummedSteps = 8;

// The most dynamic shared memory that a block may have on this device.
inline int64_t shared_limit(const LaunchOptions& options) {
  constexpr int64_t kEverywhere = 99 << 10;
  int device = 0, bytes = 0;
  const bool known = cudaGetDevice(&device) == cudaSuccess &&
                     cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                            device) == cudaSuccess;
  return std::min(options.max_shared, known ? bytes : kEverywhere);
}

template <int P, int D>
struct TileKind {
  static constexpr int kPlanes = P, kDilation = D;
};

// Calls f with the kind of tiles that a map gets: one plane, whose columns are neighbours, or four,
// which are half a sector of memory. kMayTakeEight: eight where a block may have so much shared
// memory, and where there is work for many.
template <typename A, bool kMayTakeEight, typename F>
int with_large_tiles(const UnitShape& s, const LaunchOptions& options, F&& f) {
  if constexpr (std::is_same_v<A, float>) {
    if (s.dilation == 3) {
      if (!s.channels_last) return f(TileKind<1, 3>{});
      if constexpr (kMayTakeEight) {
        using Tile = LargeKernelTile<8, 3>;
        const Tile t = Tile::make(3);
        const int64_t tiles = s.batch * ceil_div(s.channels, 8) * ceil_div(s.width, Tile::kWidth) *
                              ceil_div(s.height, t.step);
        const int64_t bytes = int64_t{Tile::forward_elements(t)} * sizeof(A);
        if (tiles >= kSomeBlocks / 2 && bytes <= shared_limit(options)) {
          return f(TileKind<8, 3>{});
        }
      }
      return f(TileKind<4, 3>{});
    }
  }
  return f(TileKind<1, 0>{});
}

template <typename A, typename Params>
int launch_large(void (*kernel)(Params), int elements, const Params& params, cudaStream_t stream,
                 const LaunchOptions& options) {
  const int bytes = elements * static_cast<int>(sizeof(A));
  if (const int error = take_shared(kernel, bytes)) return error;
  SCRN_LAUNCH(kernel, grid_of(params.work.total, options), kTileThreads, bytes, stream, params);
  return cudaGetLastError();
}

template <typename A>
int launch_large_kernel(const ForwardParams& params, cudaStream_t stream,
                        const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  return with_large_tiles<A, true>(s, options, [&](auto kind) {
    constexpr int P = decltype(kind)::kPlanes, D = decltype(kind)::kDilation;
    using Tile = LargeKernelTile<P, D>;
    const Tile t = Tile::make(s.dilation);
    LargeKernelParams p;
    p.shape = s;
    p.work = work_of(s, {P, Tile::kWidth, t.step}, P == 1 ? kManyBlocks : kSomeBlocks,
                     /*most=*/s.height);
    if (p.work.total == 0) return 0;
    p.input = params.input;
    p.weights = params.weights;
    p.output = params.output;
    auto* kernel = large_kernel_forward_kernel<A, P, D>;
    return launch_large<A>(kernel, Tile::forward_elements(t), p, stream, options);
  });
}

// The tiles of both kernels of the backward, and where their sums lie in the workspace.
struct LargeKernelBackward {
  Work input, dilated;
  int64_t dilated_sums, bytes;
};

template <typename A>
LargeKernelBackward plan_large_kernel_backward(const UnitShape& s, const LaunchOptions& options) {
  LargeKernelBackward plan;
  with_large_tiles<A, false>(s, options, [&](auto kind) {
    constexpr int P = decltype(kind)::kPlanes, D = decltype(kind)::kDilation;
    using InputTile = LargeKernelInputTile<P, D>;
    using Tile = LargeKernelTile<P, D>;
    plan.input = work_of(s, {P, InputTile::kWidth, InputTile::kStep}, kSomeBlocks, kSummedSteps);
    plan.dilated =
        work_of(s, {P, Tile::kWidth, Tile::make(s.dilation).step}, kSomeBlocks, kSummedSteps);
    return 0;
  });
  const int64_t each = s.channels * static_cast<int64_t>(sizeof(A));
  plan.dilated_sums = (kLocal * kLocal + 1) * each * plan.input.tiles;
  plan.bytes = plan.dilated_sums + (kDilated * kDilated + 1) * each * plan.dilated.tiles;
  return plan;
}

template <typename A>
int launch_large_kernel_backward(const BackwardParams& params, cudaStream_t stream,
                                 const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  const LargeKernelBackward plan = plan_large_kernel_backward<A>(s, options);
  if (plan.input.total == 0) return 0;
  const bool sums = params.grad_weights != nullptr;
  char* const workspace = static_cast<char*>(params.workspace);
  const int error = with_large_tiles<A, false>(s, options, [&](auto kind) {
    constexpr int P = decltype(kind)::kPlanes, D = decltype(kind)::kDilation;
    using InputTile = LargeKernelInputTile<P, D>;
    LargeKernelInputParams p;
    p.shape = s;
    p.work = plan.input;
    p.grad = params.grad;
    p.input = params.input;
    p.weights = params.weights;
    p.grad_input = params.grad_input;
    p.partial = sums ? workspace : nullptr;
    auto* kernel = large_kernel_input_kernel<A, P, D>;
    const int failed = launch_large<A>(kernel, InputTile::elements(InputTile::make(s.dilation)), p,
                                       stream, options);
    if (failed != 0 || !sums) return failed;

    using Tile = LargeKernelTile<P, D>;
    LargeKernelSumsParams q;
    q.shape = s;
    q.work = plan.dilated;
    q.grad = params.grad;
    q.input = params.input;
    q.weights = params.weights;
    q.partial = workspace + plan.dilated_sums;
    auto* sums_kernel = large_kernel_sums_kernel<A, P, D>;
    return launch_large<A>(sums_kernel, Tile::sums_elements(Tile::make(s.dilation)), q, stream,
                           options);
  });
  if (error != 0 || !sums) return error;
  constexpr int kLocalTaps = kLocal * kLocal + 1;
  const SumParams sum{
      {{workspace, plan.input.tiles, 0, kLocalTaps},
       {workspace + plan.dilated_sums, plan.dilated.tiles, kLocalTaps, kLargeTaps - kLocalTaps}},
      s.channels,
      kLargeTaps,
      s.weight_dtype,
      params.grad_weights};
  return launch_sums<A>(sum, stream, options);
}

}  // namespace scrn::depthwise::cuda
