#pragma once

// Sums over a kernel's taps, and the sums that are its weights' gradients, from planes in shared
// memory.

#include "sums.cuh"
#include "tiles.cuh"

namespace scrn::depthwise::cuda {

// K is the edge of a kernel that is known when it is compiled: its sums are unrolled. K = 0 is one
// of up to 7, in little code: what is rarely called.
template <int K>
inline constexpr int kMostEdge = K > 0 ? K : 7;
// A kernel's weights in shared memory lie column by column, 16-byte accesses apart.
inline constexpr int kWeightPitch = 8;
template <int K>
inline constexpr int kWeights = kMostEdge<K> * kWeightPitch;
// And behind those of P channels, P biases.
template <int P, int K>
inline constexpr int kWeightElements = P * kWeights<K> + (P + 3) / 4 * 4;

template <typename A>
struct __attribute__((__may_alias__, __aligned__(16))) WeightColumn {
  A value[kWeightPitch];
};

// P channels' weights of the convolution whose first tap is `first` of `taps` packed ones;
// `flipped`: from last to first, as the transposed convolution has them.
template <int P, int K, typename A>
SCRN_DEVICE void load_kernel(A* to, const TileParams& p, const Corner& corner, int edge, int taps,
                             int first, bool flipped) {
  const int count = edge * edge;
  load_weights<P, kTileThreads>(p, corner, taps, first, count + 1, to, [&](int plane, int tap) {
    const int at = flipped ? count - 1 - tap : tap;
    return tap == count ? P * kWeights<K> + plane
                        : plane * kWeights<K> + at % edge * kWeightPitch + at / edge;
  });
}

// sum[r] += the convolution's sum for output r, whose first tap meets source[r * row_step]; a
// kernel's rows are `row_step` apart, too. 3x3 goes row by row, others column by column.
template <int K, int N, typename A>
SCRN_DEVICE void convolve(const A* source, int edge, int row_step, int column_step,
                          const A* weights, A (&sum)[N]) {
  const auto column_of = [&](int j) {
    return *reinterpret_cast<const WeightColumn<A>*>(weights + j * kWeightPitch);
  };
  if constexpr (K == 0) {
#pragma unroll 1
    for (int tap = 0; tap < edge * edge; ++tap) {
      const int j = tap / edge, k = tap % edge;
      const A w = weights[j * kWeightPitch + k];
      const A* const at = source + j * column_step + k * row_step;
#pragma unroll
      for (int r = 0; r < N; ++r) sum[r] += w * at[r * row_step];
    }
  } else if constexpr (K == 3) {
    const WeightColumn<A> w[K] = {column_of(0), column_of(1), column_of(2)};
#pragma unroll
    for (int i = 0; i < N + K - 1; ++i) {
#pragma unroll
      for (int j = 0; j < K; ++j) {
        const A value = source[i * row_step + j * column_step];
#pragma unroll
        for (int k = 0; k < K; ++k) {
          if (i - k >= 0 && i - k < N) sum[i - k] += w[j].value[k] * value;
        }
      }
    }
  } else {
#pragma unroll 1
    for (int j = 0; j < K; ++j) {
      const auto w = column_of(j);
      const A* const column = source + j * column_step;
#pragma unroll
      for (int i = 0; i < N + K - 1; ++i) {
        const A value = column[i * row_step];
#pragma unroll
        for (int k = 0; k < K; ++k) {
          if (i - k >= 0 && i - k < N) sum[i - k] += w.value[k] * value;
        }
      }
    }
  }
}

// What a thread's tasks add to the gradients of a kernel's weights, tap by tap, and of its bias.
// For K = 0 it is a warp's, in shared memory.
template <int K, typename A>
struct WeightSums {
  static constexpr int kMost = kMostEdge<K> * kMostEdge<K> + 1;
  static constexpr int kShared = kTileWarps * kMost;  // elements: scratch, or the warps' sums
  A value[K > 0 ? kMost : 1];
};

template <int K, typename A>
SCRN_DEVICE void clear(WeightSums<K, A>& sums, A* shared) {
#pragma unroll
  for (A& each : sums.value) each = A(0);
  if constexpr (K == 0) {
    for (int e = threadIdx.x; e < WeightSums<K, A>::kShared; e += kTileThreads) shared[e] = A(0);
    __syncthreads();
  }
}

// Adds the products of what every tap met and the gradients of the outputs. All lanes call it.
template <int K, int N, typename A>
SCRN_DEVICE void correlate(const A* source, int edge, int row_step, int column_step,
                           const A (&grad)[N], WeightSums<K, A>& sums, A* shared) {
  A bias = A(0);
#pragma unroll
  for (int r = 0; r < N; ++r) bias += grad[r];
  if constexpr (K > 0) {
#pragma unroll
    for (int j = 0; j < K; ++j) {
#pragma unroll
      for (int i = 0; i < N + K - 1; ++i) {
        const A value = source[j * column_step + i * row_step];
#pragma unroll
        for (int k = 0; k < K; ++k) {
          if (i - k >= 0 && i - k < N) sums.value[k * K + j] += grad[i - k] * value;
        }
      }
    }
    sums.value[K * K] += bias;
  } else {
    A* const warps = shared + threadIdx.x / kWarp * WeightSums<K, A>::kMost;
#pragma unroll 1
    for (int tap = 0; tap <= edge * edge; ++tap) {
      A value = bias;
      if (tap < edge * edge) {
        const A* const at = source + tap % edge * column_step + tap / edge * row_step;
        value = A(0);
#pragma unroll
        for (int r = 0; r < N; ++r) value += grad[r] * at[r * row_step];
      }
      value = warp_sum<kWarp>(value);
      if (threadIdx.x % kWarp == 0) warps[tap] += value;
    }
  }
}

// The sums of a block's warps become those of its tile: [C,taps,tiles].
template <int P, int K, typename A>
SCRN_DEVICE void write_sums(const WeightSums<K, A>& sums, int taps, A* shared, const TileParams& p,
                            const Corner& corner) {
  constexpr int kMost = WeightSums<K, A>::kMost, kSpan = kWarpsOfPlane<P> * kWarp;
  if constexpr (K > 0) add_up<kSpan>(sums.value, shared);
  __syncthreads();
  write_tile_sums<P, kSpan, kTileThreads>(shared, kMost, taps, taps, p, corner);
}

// N outputs of every warp, of `tasks` for each plane: compute(plane, spot, value) leaves them in
// `value`, and they are written to rows y0 + ... of the image.
template <int P, int N, bool kDense, typename A, typename SpotOf, typename Compute>
SCRN_DEVICE void write_outputs(const UnitShape& s, void* output, const Corner& corner, int64_t y0,
                               A* staging, int tasks, SpotOf&& spot_of, Compute&& compute) {
  constexpr int kWarps = kWarpsOfPlane<P>;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int plane = warp / kWarps, slot = warp % kWarps;
  for (int round = 0; round * kWarps < tasks; ++round) {
    const int task = round * kWarps + slot;
    A value[N];
    const Spot spot = spot_of(task);
    const bool computes = task < tasks && !is_outside(spot, s, corner, y0);
    if (computes) compute(plane, spot, value);
    if constexpr (P == 1) {
      if (!computes) continue;
      with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const auto to = view_of<P, kDense, T>(s, output, corner);
        const int64_t x = corner.x0 + spot.column + lane, y = y0 + spot.row;
        if (x >= to.width) return;
        T* target = to.data + y * to.steps.row + x * to.steps.column;
#pragma unroll
        for (int r = 0; r < N; ++r) {
          if (y + r * spot.step < to.height) *target = narrow<T>(value[r]);
          target += spot.step * to.steps.row;
        }
      });
    } else {
      A* const staged = staging + round % 2 * (kStaging<P, N> / 2);
      if (computes) {
#pragma unroll
        for (int r = 0; r < N; ++r) staged[warp * kStagedWarp<P, N> + r * kWarp + lane] = value[r];
      }
      __syncthreads();
      with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const auto to = view_of<P, kDense, T>(s, output, corner);
        for_staged<P, N>(round, tasks, corner, y0, spot_of,
                         [&](int element, int channel, int64_t y, int64_t x) {
                           if (y >= to.height || x >= to.width || channel >= to.channels) return;
                           to.data[channel + y * to.steps.row + x * to.steps.column] =
                               narrow<T>(staged[element]);
                         });
      });
    }
  }
}

// The other way: what the map has in every warp's places, zero outside of the image, goes to
// use(plane, spot, value).
template <int P, int N, bool kDense, typename A, typename SpotOf, typename Use>
SCRN_DEVICE void read_outputs(const UnitShape& s, const void* map, const Corner& corner, int64_t y0,
                              A* staging, int tasks, SpotOf&& spot_of, Use&& use) {
  constexpr int kWarps = kWarpsOfPlane<P>;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int plane = warp / kWarps, slot = warp % kWarps;
  for (int round = 0; round * kWarps < tasks; ++round) {
    const int task = round * kWarps + slot;
    const Spot spot = spot_of(task);
    const bool uses = task < tasks && !is_outside(spot, s, corner, y0);
    A value[N];
    if constexpr (P == 1) {
      if (!uses) continue;
      with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const auto from = view_of<P, kDense, T>(s, map, corner);
        const int64_t x = corner.x0 + spot.column + lane, y = y0 + spot.row;
        const T* source = from.data + y * from.steps.row + x * from.steps.column;
#pragma unroll
        for (int r = 0; r < N; ++r) {
          const bool inside = y + r * spot.step < from.height && x < from.width;
          value[r] = inside ? static_cast<A>(widen(*source)) : A(0);
          source += spot.step * from.steps.row;
        }
      });
    } else {
      A* const staged = staging + round % 2 * (kStaging<P, N> / 2);
      with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const auto from = view_of<P, kDense, T>(s, map, corner);
        for_staged<P, N>(
            round, tasks, corner, y0, spot_of, [&](int element, int channel, int64_t y, int64_t x) {
              const bool inside = y < from.height && x < from.width && channel < from.channels;
              staged[element] =
                  inside ? static_cast<A>(widen(
                               from.data[channel + y * from.steps.row + x * from.steps.column]))
                         : A(0);
            });
      });
      __syncthreads();
      if (!uses) continue;
#pragma unroll
      for (int r = 0; r < N; ++r) value[r] = staged[warp * kStagedWarp<P, N> + r * kWarp + lane];
    }
    use(plane, spot, value);
  }
}

}  // namespace scrn::depthwise::cuda
