#pragma once

// The multi-scale unit's launchers, which tests may tell other grids than their own.

#include "multi_scale_forward.cuh"

namespace scrn::depthwise::cuda {

// More than the 48 KiB that every kernel may have takes asking. 99 KiB are there on every device.
template <typename Kernel>
int allow_shared(Kernel* kernel, int bytes) {
  constexpr int kWithoutAsking = 48 << 10;
  if (bytes <= kWithoutAsking) return 0;
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                              cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

// Calls f with the kind of the shape's tiles.
template <typename T, typename F>
int with_tiles(const UnitShape& s, F&& f) {
  if constexpr (!std::is_same_v<T, double>) {
    if (has_usual_strips(s)) {
      constexpr int kNarrow = Tile<T, kGrouped>::kWidth;
      if (s.channels_last || s.width <= kNarrow) return f(std::integral_constant<int, kGrouped>{});
      return f(std::integral_constant<int, kWide>{});
    }
  }
  return f(std::integral_constant<int, kAny>{});
}

template <typename T>
int launch_multi_scale(const ForwardParams& params, cudaStream_t stream,
                       const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  return with_tiles<T>(s, [&](auto kind) {
    using Tile = ForwardTile<T, decltype(kind)::value>;
    static_assert(Tile::kBytes <= 99 << 10, "it fits everywhere");
    const MultiScaleForward work{params, works_of(s, Tile::kGroup, Tile::kWidth), steps_of(s),
                                 strips_of(s), taps_of(s)};
    if (work.works.total == 0) return 0;
    auto* kernel = multi_scale_forward_kernel<T, decltype(kind)::value>;
    if (const int error = allow_shared(kernel, Tile::kBytes)) return error;
    SCRN_LAUNCH(kernel, grid_of(work.works.total, options), Tile::kBlock, Tile::kBytes, stream,
                work);
    return static_cast<int>(cudaGetLastError());
  });
}

}  // namespace scrn::depthwise::cuda
