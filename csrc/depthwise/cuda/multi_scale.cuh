#pragma once

// The multi-scale unit's launchers, which tests may tell other grids than their own.

#include "local_backward.cuh"
#include "multi_scale_backward.cuh"
#include "multi_scale_forward.cuh"

namespace scrn::depthwise::cuda {

// What f returns for the kind of the shape's tiles.
template <typename A, typename F>
auto with_tiles(const UnitShape& s, F&& f) {
  if constexpr (!std::is_same_v<A, double>) {
    if (has_usual_strips(s)) {
      constexpr int kNarrow = Tile<A, kGrouped>::kWidth;
      if (s.channels_last || s.width <= kNarrow) return f(std::integral_constant<int, kGrouped>{});
      return f(std::integral_constant<int, kWide>{});
    }
  }
  return f(std::integral_constant<int, kAny>{});
}

// Tiles that keep the largest devices busy. Bands have a multiple of 16 rows, which every step
// divides, and so the kernels of a backward have the same tiles.
template <typename Tile>
Tiling multi_scale_tiling(const UnitShape& s) {
  static_assert(16 % Tile::kStep == 0, "a band has whole steps");
  return tiling_of(s, {Tile::kGroup, Tile::kWidth, 16}, {/*blocks=*/384, /*least=*/2});
}

template <typename A>
int launch_multi_scale(const ForwardParams& params, cudaStream_t stream,
                       const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  return with_tiles<A>(s, [&](auto kind) {
    using Tile = ForwardTile<A, decltype(kind)::value>;
    static_assert(Tile::kBytes <= kSharedEverywhere, "it fits everywhere");
    const auto p = multi_scale_params(params_of(params, multi_scale_tiling<Tile>(s)));
    return launch_tiles<multi_scale_forward_kernel<A, decltype(kind)::value>, Tile::kBytes>(
        Tile::kBlock, Tile::kBytes, p, stream, options);
  });
}

// What the backward keeps in the workspace.
template <typename A>
struct BackwardSpace {
  A* grad_local;  // [B,C,H,W]
  A* partial;     // [C,taps,tiles], or null
  size_t bytes;
};

template <typename A>
BackwardSpace<A> backward_space(const BackwardParams& params, const Tiling& tiling) {
  const UnitShape& s = params.shape;
  const size_t map = sizeof(A) * static_cast<size_t>(s.batch * s.channels * s.height) * s.width;
  const size_t first = (map + 15) / 16 * 16;
  const size_t sums = params.grad_weights == nullptr
                          ? 0
                          : sizeof(A) * static_cast<size_t>(s.channels * tiling.tiles) * taps_of(s);
  char* const base = static_cast<char*>(params.workspace);
  return {reinterpret_cast<A*>(base),
          sums == 0 || base == nullptr ? nullptr : reinterpret_cast<A*>(base + first),
          first + sums};
}

template <typename A>
size_t multi_scale_workspace(const BackwardParams& params) {
  return with_tiles<A>(params.shape, [&](auto kind) {
    using Tile = BackwardTile<A, decltype(kind)::value>;
    return backward_space<A>(params, multi_scale_tiling<Tile>(params.shape)).bytes;
  });
}

template <typename A>
int launch_multi_scale_backward(const BackwardParams& params, cudaStream_t stream,
                                const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  return with_tiles<A>(s, [&](auto kind) {
    constexpr int kKind = decltype(kind)::value;
    using Tile = BackwardTile<A, kKind>;
    using Local = LocalBackwardTile<A, Tile::kGroup, Tile::kWidth, Tile::kStep>;
    static_assert(Tile::kBytes <= kSharedEverywhere, "it fits everywhere");
    const Tiling tiling = multi_scale_tiling<Tile>(s);
    if (tiling.total == 0) return 0;
    const BackwardSpace<A> space = backward_space<A>(params, tiling);
    auto p = multi_scale_params(params_of(params, tiling, space.partial));
    p.grad_local = space.grad_local;
    int error = launch_tiles<multi_scale_backward_kernel<A, kKind>, Tile::kBytes>(
        Tile::kBlock, Tile::kBytes, p, stream, options);
    if (error != 0) return error;
    error = launch_tiles<local_backward_kernel<A, Tile::kGroup, Tile::kWidth, Tile::kStep>,
                         Local::kBytes>(Local::kBlock, Local::kBytes, p, stream, options);
    if (error != 0 || space.partial == nullptr) return error;
    const SumParams sum{{{space.partial, tiling.tiles, 0, p.taps}, {}},
                        s.channels,
                        p.taps,
                        s.weight_dtype,
                        params.grad_weights};
    return launch_sums<A, 1>(sum, stream, options);
  });
}

}  // namespace scrn::depthwise::cuda
