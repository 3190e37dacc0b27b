#pragma once

// Large kernel: which tiles a map gets, and the launches.

#include "large_kernel.cuh"

namespace scrn::depthwise::cuda {

// Blocks that fill a large device a few times over, so that the last ones do not weigh.
inline constexpr int64_t kManyBlocks = 1024, kSomeBlocks = 528;
// Steps of a band whose sums are added up in float32 by a thread.
inline constexpr int64_t kSummedSteps = 8;

// Whether two blocks with so many bytes of shared memory, and a corner, run on a multiprocessor of
// this device, as many as registers leave room for. It has 1 KiB more than the most that a block
// may have, and keeps 1 KiB for itself beside each block's.
inline bool two_blocks_fit(int64_t bytes, const LaunchOptions& options) {
  constexpr int64_t kReserved = 1 << 10;
  int device = 0, most = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess) {
    return false;
  }
  const int64_t of_block = bytes + static_cast<int64_t>(sizeof(Corner)) + kReserved;
  return 2 * of_block <= std::min<int64_t>(options.max_shared, most) + kReserved;
}

template <int P, int D>
struct TileKind {
  static constexpr int kPlanes = P, kDilation = D;
};

// What f returns for the kind of tiles that a map gets: one plane, whose columns are neighbours, or
// four, which are half a sector of memory.
template <typename A, typename F>
auto with_large_tiles(const UnitShape& s, F&& f) {
  if constexpr (std::is_same_v<A, float>) {
    if (s.dilation == 3) return s.channels_last ? f(TileKind<4, 3>{}) : f(TileKind<1, 3>{});
  }
  return f(TileKind<1, 0>{});
}

// The forward takes eight, a whole sector, where there is work for many blocks, and room for two.
inline bool takes_eight(const UnitShape& s, const LaunchOptions& options) {
  using Tile = LargeKernelTile<8, 3>;
  constexpr Tile kTile = Tile::make(3);
  constexpr int64_t kBytes = int64_t{Tile::forward_elements(kTile)} * sizeof(float);
  const int64_t tiles = s.batch * ceil_div(s.channels, 8) * ceil_div(s.width, Tile::kWidth) *
                        ceil_div(s.height, kTile.step);
  return s.dilation == 3 && s.channels_last && tiles >= kSomeBlocks / 2 &&
         two_blocks_fit(kBytes, options);
}

// Bytes of a block of a kernel for the dilation of the largest tile.
template <typename A, typename Tile, int D, typename Elements>
constexpr int most_bytes(Elements elements) {
  int most = 0;
  for (int d = D > 0 ? D : 1; d <= (D > 0 ? D : kMaxDilation); ++d) {
    const int each = elements(Tile::make(d));
    most = each > most ? each : most;
  }
  return most * static_cast<int>(sizeof(A));
}

template <typename A>
int launch_large_kernel(const ForwardParams& params, cudaStream_t stream,
                        const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  const auto launch = [&](auto kind) {
    constexpr int P = decltype(kind)::kPlanes, D = decltype(kind)::kDilation;
    using Tile = LargeKernelTile<P, D>;
    constexpr int kMost = most_bytes<A, Tile, D>(Tile::forward_elements);
    static_assert(P == 8 || kMost <= kSharedEverywhere, "it fits everywhere");
    const Tile t = Tile::make(s.dilation);
    const int bytes = Tile::forward_elements(t) * static_cast<int>(sizeof(A));
    const Bands bands{P == 1 ? kManyBlocks : kSomeBlocks};
    const Tiling tiling = tiling_of(s, {P, Tile::kWidth, t.step}, bands);
    return launch_tiles<large_kernel_forward_kernel<A, P, D>, kMost>(
        kTileThreads, bytes, params_of(params, tiling), stream, options);
  };
  if constexpr (std::is_same_v<A, float>) {
    if (takes_eight(s, options)) return launch(TileKind<8, 3>{});
  }
  return with_large_tiles<A>(s, launch);
}

// The tiles of both kernels of the backward, and where their sums lie in the workspace: there are
// none where the gradient of the weights is not wanted.
struct LargeKernelBackward {
  Tiling input, dilated;
  int64_t dilated_sums, bytes;
};

template <typename A>
LargeKernelBackward plan_large_kernel_backward(const BackwardParams& params) {
  const UnitShape& s = params.shape;
  return with_large_tiles<A>(s, [&](auto kind) {
    constexpr int P = decltype(kind)::kPlanes, D = decltype(kind)::kDilation;
    using InputTile = LargeKernelInputTile<P, D>;
    using Tile = LargeKernelTile<P, D>;
    constexpr Bands kBands{kSomeBlocks, 1, kSummedSteps};
    LargeKernelBackward plan{};
    plan.input = tiling_of(s, {P, InputTile::kWidth, InputTile::kStep}, kBands);
    plan.dilated = tiling_of(s, {P, Tile::kWidth, Tile::make(s.dilation).step}, kBands);
    if (params.grad_weights == nullptr) return plan;
    const int64_t each = s.channels * static_cast<int64_t>(sizeof(A));
    plan.dilated_sums = (kLocal * kLocal + 1) * each * plan.input.tiles;
    plan.bytes = plan.dilated_sums + (kDilated * kDilated + 1) * each * plan.dilated.tiles;
    return plan;
  });
}

template <typename A>
int launch_large_kernel_backward(const BackwardParams& params, cudaStream_t stream,
                                 const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  const LargeKernelBackward plan = plan_large_kernel_backward<A>(params);
  const bool sums = params.grad_weights != nullptr;
  char* const of_input = sums ? static_cast<char*>(params.workspace) : nullptr;
  char* const of_dilated = sums ? of_input + plan.dilated_sums : nullptr;
  const int error = with_large_tiles<A>(s, [&](auto kind) {
    constexpr int P = decltype(kind)::kPlanes, D = decltype(kind)::kDilation;
    constexpr int kSize = sizeof(A);
    using InputTile = LargeKernelInputTile<P, D>;
    using Tile = LargeKernelTile<P, D>;
    constexpr int kMostOfInput = most_bytes<A, InputTile, D>(InputTile::elements);
    constexpr int kMostOfSums = most_bytes<A, Tile, D>(Tile::sums_elements);
    static_assert(kMostOfInput <= kSharedEverywhere && kMostOfSums <= kSharedEverywhere);
    const int failed = launch_tiles<large_kernel_input_kernel<A, P, D>, kMostOfInput>(
        kTileThreads, InputTile::elements(InputTile::make(s.dilation)) * kSize,
        params_of(params, plan.input, of_input), stream, options);
    if (failed != 0 || !sums) return failed;
    return launch_tiles<large_kernel_sums_kernel<A, P, D>, kMostOfSums>(
        kTileThreads, Tile::sums_elements(Tile::make(s.dilation)) * kSize,
        params_of(params, plan.dilated, of_dilated), stream, options);
  });
  if (error != 0 || !sums || plan.input.total == 0) return error;
  constexpr int kLocalTaps = kLocal * kLocal + 1;
  const SumParams sum{{{of_input, plan.input.tiles, 0, kLocalTaps},
                       {of_dilated, plan.dilated.tiles, kLocalTaps, kLargeTaps - kLocalTaps}},
                      s.channels,
                      kLargeTaps,
                      s.weight_dtype,
                      params.grad_weights};
  return launch_sums<A, kWarp>(sum, stream, options);
}

}  // namespace scrn::depthwise::cuda
