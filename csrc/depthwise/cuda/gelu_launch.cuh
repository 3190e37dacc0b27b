#pragma once

// GELU: which kernel a map gets, and the launches.

#include "gelu_rows.cuh"
#include "gelu_tiles.cuh"

namespace scrn::depthwise::cuda {

inline constexpr int64_t kGeluBlocks = 2112;  // of which each reads what it needs of the others'
inline constexpr int64_t kSummedGeluSteps = 16;

template <int K, int P>
struct GeluKind {
  static constexpr int kSquare = K, kPlanes = P;
};

// What f returns for the kind of tiles: the usual 3x3 with sums in float32, or any kernel, plane by
// plane.
template <typename A, typename F>
auto with_gelu_tiles(const UnitShape& s, F&& f) {
  if constexpr (std::is_same_v<A, float>) {
    if (s.square == 3) return s.channels_last ? f(GeluKind<3, 8>{}) : f(GeluKind<3, 1>{});
  }
  return f(GeluKind<0, 1>{});
}

template <int K, int P>
Borders borders_of(const UnitShape& s, void* saved) {
  using Tile = GeluTile<K, P>;
  Borders b;
  b.saved = saved;
  b.in_rows = ceil_div(s.height, Tile::kStep) - 1;
  b.in_columns = ceil_div(s.width, Tile::kWidth) - 1;
  b.step = Tile::kStep;
  b.tile_width = Tile::kWidth;
  b.radius = s.square / 2;
  return b;
}

// Bytes that the forward needs where its output is its input.
template <typename A>
int64_t gelu_border_bytes(const UnitShape& s) {
  return with_gelu_tiles<A>(s, [&](auto kind) {
    constexpr int K = decltype(kind)::kSquare, P = decltype(kind)::kPlanes;
    return size_of(s.dtype) * Borders::elements(borders_of<K, P>(s, nullptr), s);
  });
}

// Whole accesses in every row, and an output that is not the input.
inline bool takes_rows(const ForwardParams& params) {
  const UnitShape& s = params.shape;
  const int64_t neighbours = s.channels_last ? s.channels : s.width;
  return s.square == 3 && neighbours % kRowVector == 0 && params.output != params.input &&
         aligned16(params.input) && aligned16(params.output);
}

template <typename T, bool kLast>
int launch_gelu_rows_as(const ForwardParams& params, cudaStream_t stream,
                        const LaunchOptions& options) {
  const UnitShape& s = params.shape;
  GeluRowsParams p;
  p.vectors = kLast ? s.channels / kRowVector : 1;
  p.columns = kLast ? s.width : s.width / kRowVector;
  p.bands = ceil_div(s.height, kRowsOfThread);
  p.channels = s.channels;
  p.total = s.batch * (kLast ? 1 : s.channels) * p.bands * p.columns * p.vectors;
  p.height = s.height;
  p.width = s.width;
  p.weight_dtype = s.weight_dtype;
  p.input = params.input;
  p.weights = params.weights;
  p.output = params.output;
  if (p.total == 0) return 0;
  auto* kernel = gelu_rows_kernel<T, kLast>;
  SCRN_LAUNCH(kernel, grid_of(ceil_div(p.total, kRowThreads), options), kRowThreads, 0, stream, p);
  return cudaGetLastError();
}

template <typename T>
int launch_gelu_rows(const ForwardParams& params, cudaStream_t stream,
                     const LaunchOptions& options) {
  return params.shape.channels_last ? launch_gelu_rows_as<T, true>(params, stream, options)
                                    : launch_gelu_rows_as<T, false>(params, stream, options);
}

inline int launch_save_borders(const UnitShape& s, const Borders& borders, const void* input,
                               cudaStream_t stream, const LaunchOptions& options) {
  const BordersParams p{s, borders, Borders::elements(borders, s), size_of(s.dtype), input};
  if (p.total == 0) return 0;
  SCRN_LAUNCH(save_borders_kernel, grid_of(ceil_div(p.total, kThreads), options), kThreads, 0,
              stream, p);
  return cudaGetLastError();
}

template <typename A>
int launch_gelu_tiles(const ForwardParams& params, void* workspace, cudaStream_t stream,
                      const LaunchOptions& options) {
  const UnitShape& s = params.shape;
  return with_gelu_tiles<A>(s, [&](auto kind) {
    constexpr int K = decltype(kind)::kSquare, P = decltype(kind)::kPlanes;
    using Tile = GeluTile<K, P>;
    constexpr int kBytes = Tile::kForwardElements * static_cast<int>(sizeof(A));
    static_assert(kBytes <= kSharedEverywhere, "it fits everywhere");
    constexpr Bands kOneStep{0, 1, 1};
    GeluParams p{params_of(params, tiling_of(s, {P, Tile::kWidth, Tile::kStep}, kOneStep)), {}};
    if (params.output == params.input) {
      p.borders = borders_of<K, P>(s, workspace);
      const int error = launch_save_borders(s, p.borders, p.input, stream, options);
      if (error != 0) return error;
    }
    return launch_tiles<gelu_forward_kernel<A, K, P>, kBytes>(kTileThreads, kBytes, p, stream,
                                                              options);
  });
}

// `workspace` has as many bytes as gelu_border_bytes says where the output is the input.
inline int launch_gelu(const ForwardParams& params, void* workspace, cudaStream_t stream,
                       const LaunchOptions& options = {}) {
  if (params.shape.dtype == DType::kDouble) {
    return launch_gelu_tiles<double>(params, workspace, stream, options);
  }
  if (!takes_rows(params)) return launch_gelu_tiles<float>(params, workspace, stream, options);
  switch (params.shape.dtype) {
    case DType::kHalf:
      return launch_gelu_rows<__half>(params, stream, options);
    case DType::kBFloat16:
      return launch_gelu_rows<__nv_bfloat16>(params, stream, options);
    default:
      return launch_gelu_rows<float>(params, stream, options);
  }
}

template <int K, int P>
Tiling gelu_backward_tiling(const UnitShape& s) {
  using Tile = GeluTile<K, P>;
  return tiling_of(s, {P, Tile::kWidth, Tile::kStep}, {kGeluBlocks, 1, kSummedGeluSteps});
}

// None where the gradient of the weights is not wanted.
template <typename A>
int64_t gelu_workspace_bytes(const BackwardParams& params) {
  if (params.grad_weights == nullptr) return 0;
  const UnitShape& s = params.shape;
  return with_gelu_tiles<A>(s, [&](auto kind) {
    constexpr int K = decltype(kind)::kSquare, P = decltype(kind)::kPlanes;
    const int64_t each = taps_of(s) * static_cast<int64_t>(sizeof(A));
    return s.channels * each * gelu_backward_tiling<K, P>(s).tiles;
  });
}

template <typename A>
int launch_gelu_backward(const BackwardParams& params, cudaStream_t stream,
                         const LaunchOptions& options = {}) {
  const UnitShape& s = params.shape;
  return with_gelu_tiles<A>(s, [&](auto kind) {
    constexpr int K = decltype(kind)::kSquare, P = decltype(kind)::kPlanes;
    constexpr int kBytes = GeluTile<K, P>::kBackwardElements * static_cast<int>(sizeof(A));
    static_assert(kBytes <= kSharedEverywhere, "it fits everywhere");
    const Tiling tiling = gelu_backward_tiling<K, P>(s);
    const bool sums = params.grad_weights != nullptr;
    const GeluParams p{params_of(params, tiling, sums ? params.workspace : nullptr), {}};
    const int error = launch_tiles<gelu_backward_kernel<A, K, P>, kBytes>(kTileThreads, kBytes, p,
                                                                          stream, options);
    if (error != 0 || !sums || tiling.total == 0) return error;
    const int taps = taps_of(s);
    const SumParams sum{{{p.partial, tiling.tiles, 0, taps}, {}},
                        s.channels,
                        taps,
                        s.weight_dtype,
                        params.grad_weights};
    return launch_sums<A, kWarp>(sum, stream, options);
  });
}

}  // namespace scrn::depthwise::cuda
