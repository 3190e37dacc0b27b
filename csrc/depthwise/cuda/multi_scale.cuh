#pragma once

// The multi-scale unit's launchers, which tests may tell other grids than their own.

#include "local_backward.cuh"
#include "multi_scale_backward.cuh"
#include "multi_scale_forward.cuh"

namespace scrn::depthwise::cuda {

// Calls f with the kind of the shape's tiles.
template <typename A, typename F>
int with_tiles(const UnitShape& s, F&& f) {
  if constexpr (!std::is_same_v<A, double>) {
    if (has_usual_strips(s)) {
      constexpr int kNarrow = Tile<A, kGrouped>::kWidth;
      if (s.channels_last || s.width <= kNarrow) return f(std::integral_constant<int, kGrouped>{});
      return f(std::integral_constant<int, kWide>{});
    }
  }
  return f(std::integral_constant<int, kAny>{});
}

template <typename A>
int launch_multi_scale(const ForwardParams& params, cudaStream_t stream,
                       const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  return with_tiles<A>(s, [&](auto kind) {
    using Tile = ForwardTile<A, decltype(kind)::value>;
    static_assert(Tile::kBytes <= 99 << 10, "it fits everywhere");
    const MultiScaleForward work{params, works_of(s, Tile::kGroup, Tile::kWidth), steps_of(s),
                                 strips_of(s), taps_of(s)};
    if (work.works.total == 0) return 0;
    auto* kernel = multi_scale_forward_kernel<A, decltype(kind)::value>;
    if (const int error = take_shared(kernel, Tile::kBytes)) return error;
    SCRN_LAUNCH(kernel, grid_of(work.works.total, options), Tile::kBlock, Tile::kBytes, stream,
                work);
    return static_cast<int>(cudaGetLastError());
  });
}

// What the backward keeps in the workspace.
template <typename A>
struct BackwardSpace {
  A* grad_local;  // [B,C,H,W]
  A* partial;     // [C,parts,taps]
  size_t bytes;
};

template <typename A>
BackwardSpace<A> backward_space(const BackwardParams& params, const Works& works) {
  const UnitShape& s = params.shape;
  const size_t map = sizeof(A) * static_cast<size_t>(s.batch * s.channels * s.height) * s.width;
  const size_t first = (map + 15) / 16 * 16;
  const size_t sums = params.grad_weights == nullptr
                          ? 0
                          : sizeof(A) * static_cast<size_t>(s.channels * works.parts) * taps_of(s);
  char* const base = static_cast<char*>(params.workspace);
  return {reinterpret_cast<A*>(base),
          sums == 0 || base == nullptr ? nullptr : reinterpret_cast<A*>(base + first),
          first + sums};
}

template <typename A>
size_t multi_scale_workspace(const BackwardParams& params) {
  size_t bytes = 0;
  with_tiles<A>(params.shape, [&](auto kind) {
    using Tile = BackwardTile<A, decltype(kind)::value>;
    const Works works = works_of(params.shape, Tile::kGroup, Tile::kWidth);
    bytes = backward_space<A>(params, works).bytes;
    return 0;
  });
  return bytes;
}

template <typename A>
int launch_multi_scale_backward(const BackwardParams& params, cudaStream_t stream,
                                const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  return with_tiles<A>(s, [&](auto kind) {
    using Tile = BackwardTile<A, decltype(kind)::value>;
    static_assert(Tile::kBytes <= 99 << 10, "it fits everywhere");
    const Works works = works_of(s, Tile::kGroup, Tile::kWidth);
    if (works.total == 0) return 0;
    const BackwardSpace<A> space = backward_space<A>(params, works);

    MultiScaleBackward strips;
    strips.shape = s;
    strips.grad = params.grad;
    strips.input = params.input;
    strips.weights = params.weights;
    strips.grad_local = space.grad_local;
    strips.partial = space.partial;
    strips.works = works;
    strips.steps = steps_of(s);
    strips.strips = strips_of(s);
    strips.taps = taps_of(s);
    auto* kernel = multi_scale_backward_kernel<A, decltype(kind)::value>;
    if (const int error = take_shared(kernel, Tile::kBytes)) return error;
    SCRN_LAUNCH(kernel, grid_of(works.total, options), Tile::kBlock, Tile::kBytes, stream, strips);

    LocalBackward local;
    local.shape = s;
    local.grad_local = space.grad_local;
    local.input = params.input;
    local.weights = params.weights;
    local.grad_input = params.grad_input;
    local.partial = space.partial;
    local.works = works;
    local.steps = strips.steps;
    local.taps = strips.taps;
    using Local = LocalBackwardTile<A, Tile::kGroup, Tile::kWidth, Tile::kStep>;
    auto* second = local_backward_kernel<A, Tile::kGroup, Tile::kWidth, Tile::kStep>;
    if (const int error = take_shared(second, Local::kBytes)) return error;
    SCRN_LAUNCH(second, grid_of(works.total, options), Local::kBlock, Local::kBytes, stream, local);
    if (space.partial == nullptr) return static_cast<int>(cudaGetLastError());

    return launch_partial_sums<A>(
        {space.partial, params.grad_weights, s.weight_dtype, s.channels, works.parts, strips.taps},
        stream, options);
  });
}

}  // namespace scrn::depthwise::cuda
