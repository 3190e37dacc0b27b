#pragma once

// The multi-scale unit's forward. A block walks down its tile, kStep rows at a time: it loads the
// input, computes the local map and what the row strips make of it, and with the column strips the
// results of the rows that lie kRadius above. What columns need of earlier rows stays in rings.

#include "multi_scale_any.cuh"

namespace scrn::depthwise::cuda {

template <typename Sum, int kKind>
struct ForwardTile : Tile<Sum, kKind> {
  using Base = Tile<Sum, kKind>;
  using typename Base::A;
  static constexpr int kBlock = Base::kGroup * Base::kWidth * Base::kGranules;
  static constexpr int kMinBlocks = sizeof(A) == 8 ? 1 : 512 / kBlock;
  static constexpr int kTogether =
      kKind == kWide ? 4 : (Base::kIsAny ? 1 : 2);  // lines that are loaded at a time
  // Items of the local map: as many as threads, if they overlap.
  static constexpr int kItem = kKind == kGrouped ? 16 : 12, kApart = 12;
  static constexpr int kKernelRows = kKind == kWide ? kLocal : 1;

  static constexpr int kLocalRing = ring_granules<Base>(kResultRow<Base>);
  SCRN_HOST_DEVICE constexpr int strip_ring(int strip) {
    return ring_granules<Base>(kResultRow<Base> - Base::length(strip) / 2);
  }

  // Shared memory: a plane of each for every channel.
  static constexpr int kWeightsAt = 0;
  static constexpr int kInputAt = Base::kGroup * Base::kWeights;
  static constexpr int kLocalPlane = kLocalRing * Base::kResults * Base::kLocalPitch;
  static constexpr int kLocalAt = kInputAt + Base::kGroup * Base::kInputPlane;
  SCRN_HOST_DEVICE constexpr int strip_plane(int strip) {
    return strip_ring(strip) * Base::kResults * Base::kPitch;
  }
  SCRN_HOST_DEVICE constexpr int strip_at(int strip) {
    int at = kLocalAt + Base::kGroup * kLocalPlane;
    for (int i = 0; i < strip; ++i) at += Base::kGroup * strip_plane(i);
    return at;
  }
  // Results on their way to a channels_last map.
  static constexpr int kOutputAt = strip_at(kStrips);
  static constexpr int kOutputPlane =
      Base::kGroup > 1 ? plane_pitch(Base::kStep * Base::kPitch) : 0;
  static constexpr int kElements = kOutputAt + Base::kGroup * kOutputPlane;
  static constexpr int kBytes = kElements * static_cast<int>(sizeof(A));
};

// Where the rows of a step go in a ring of so many granules.
template <typename Tile>
SCRN_DEVICE int first_slot(int64_t step, int ring) {
  return static_cast<int>(static_cast<uint32_t>(step) * Tile::kGranules % ring);
}

// The row strips of the rows from first_row on, which are zero outside of the map.
template <typename Tile, typename A>
SCRN_DEVICE void row_strips(A* shared, int64_t step, int64_t first_row, int height) {
  constexpr int kItems = Tile::kWidth / Tile::kResults;
  const int i = threadIdx.x;
  const int row = i % Tile::kStep, c = i / (Tile::kStep * kItems);
  const int column = i / Tile::kStep % kItems * Tile::kResults;
  const bool inside = first_row + row < height;
  A window[Tile::whole(Tile::kResults + 2 * Tile::kRadius)];
  if (inside) {
    const Rows<A> local{shared + Tile::kLocalAt, Tile::kLocalPlane, Tile::kLocalPitch,
                        first_slot<Tile>(step, Tile::kLocalRing) * Tile::kResults,
                        Tile::kLocalRing * Tile::kResults};
    load_row(window, row_of(local, c, row) + column);
  }
  const A* const weights = shared + c * Tile::kWeights;
  const auto strip = [&](auto which) {
    constexpr int kStrip = decltype(which)::value, kRing = Tile::strip_ring(kStrip);
    A sum[Tile::kResults];
#pragma unroll
    for (A& each : sum) each = inside ? weights[Tile::row_bias(kStrip)] : A(0);
    if (inside) {
      add_row_strip<Tile, kStrip, false, 0>(window, weights + Tile::row_weights(kStrip), sum);
    }
    const Rows<A> to{shared + Tile::strip_at(kStrip), Tile::strip_plane(kStrip), Tile::kPitch,
                     first_slot<Tile>(step, kRing) * Tile::kResults, kRing * Tile::kResults};
    store_row(row_of(to, c, row) + column, sum);
  };
  strip(std::integral_constant<int, 0>{});
  strip(std::integral_constant<int, 1>{});
  strip(std::integral_constant<int, 2>{});
}

// The eight results of a thread.
template <typename Tile, typename A>
SCRN_DEVICE void column_strips(const A* shared, int64_t step, int c, int granule, int column,
                               A (&sum)[Tile::kResults]) {
  const A* const weights = shared + c * Tile::kWeights;
  const auto newest = [&](int ring) {
    const int slot = first_slot<Tile>(step, ring) + granule;
    return slot < ring ? slot : slot - ring;
  };
  constexpr int kRow = kResultRow<Tile>;
  const auto local = column_of<Tile, kRow>(
      shared + Tile::kLocalAt + c * Tile::kLocalPlane + Tile::kRadius + column, Tile::kLocalPitch,
      newest(Tile::kLocalRing), Tile::kLocalRing);
#pragma unroll
  for (int e = 0; e < Tile::kResults; ++e) {
    sum[e] = value_of(local, kRow + e) + weights[Tile::column_bias(0)] +
             weights[Tile::column_bias(1)] + weights[Tile::column_bias(2)];
  }
  const auto strip = [&](auto which) {
    constexpr int kStrip = decltype(which)::value, kRing = Tile::strip_ring(kStrip);
    const auto rows = column_of<Tile, kWindowRow<Tile, kStrip>>(
        shared + Tile::strip_at(kStrip) + c * Tile::strip_plane(kStrip) + column, Tile::kPitch,
        newest(kRing), kRing);
    add_column_strip<Tile, kStrip>(rows, weights + Tile::column_weights(kStrip), sum);
  };
  strip(std::integral_constant<int, 0>{});
  strip(std::integral_constant<int, 1>{});
  strip(std::integral_constant<int, 2>{});
}

template <typename A, int kKind>
__global__ void __launch_bounds__((ForwardTile<A, kKind>::kBlock),
                                  (ForwardTile<A, kKind>::kMinBlocks))
    multi_scale_forward_kernel(const MultiScaleParams p) {
  using Tile = ForwardTile<A, kKind>;
  constexpr int kGroup = Tile::kGroup, kBlock = Tile::kBlock, kStep = Tile::kStep;
  constexpr int kRadius = Tile::kRadius, kHalo = kLocal / 2;
  SCRN_DYNAMIC_SHARED(A, shared);
  SCRN_SHARED(Corner, corner, );
  const UnitShape& s = p.shape;
  const Rows<A> input{shared + Tile::kInputAt, Tile::kInputPlane, Tile::kInputPitch, 0,
                      Tile::kInputRows};
  const Rows<A> staged{shared + Tile::kOutputAt, Tile::kOutputPlane, Tile::kPitch, 0, kStep};
  const int column = static_cast<int>(threadIdx.x) % Tile::kWidth;
  const int granule = static_cast<int>(threadIdx.x) / Tile::kWidth % Tile::kGranules;
  const int c = static_cast<int>(threadIdx.x) / (Tile::kWidth * Tile::kGranules);

  for_tiles<kGroup>(p, corner, [&] {
    const int channels = channels_of(s, corner, kGroup);
    const int64_t first_column = corner.x0, begin = corner.y0, end = corner.y1;
    const int64_t first_row = begin > 0 ? begin - kRadius : 0;  // above the map rows are zero
    const bool stages = kGroup > 1 && s.channels_last;

    load_strips<Tile, kBlock>(shared, p, corner);
    for (int i = Tile::strip_at(0) + threadIdx.x; i < Tile::strip_at(kStrips); i += kBlock) {
      shared[i] = 0;
    }
    for (int64_t step = 0;; ++step) {
      const int64_t row = first_row + step * kStep, result = row - kRadius;
      if (result >= end) break;
      const bool any = row < s.height;
      if (any) {
        with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
          using T = std::remove_pointer_t<decltype(type)>;
          const auto from =
              View<const T>::of(static_cast<const T*>(p.input), p.steps, s, corner, channels);
          load_tile<kGroup, kBlock, Tile::kInputRows, Tile::kInputColumns, Tile::kTogether>(
              from, row - kHalo, first_column - kRadius - kHalo, input);
        });
      }
      __syncthreads();
      if (any) {
        const Rows<A> local{shared + Tile::kLocalAt, Tile::kLocalPlane, Tile::kLocalPitch,
                            first_slot<Tile>(step, Tile::kLocalRing) * Tile::kResults,
                            Tile::kLocalRing * Tile::kResults};
        local_map<Tile, kBlock, Tile::kItem, Tile::kApart, Tile::kKernelRows>(
            input, shared, row, s.height, first_column - kRadius, s.width, local);
      }
      __syncthreads();
      if constexpr (Tile::kIsAny) {
        any_row_strips<Tile>(shared, p.strips, step, row, s.height);
      } else {
        row_strips<Tile>(shared, step, row, s.height);
      }
      __syncthreads();
      const int64_t own = result + granule * Tile::kResults;
      if (own + Tile::kResults > begin && own < end) {
        A sum[Tile::kResults];
        if constexpr (Tile::kIsAny) {
          any_column_strips<Tile>(shared, p.strips, step, c, column, sum);
        } else {
          column_strips<Tile>(shared, step, c, granule, column, sum);
        }
        if (stages) {
#pragma unroll
          for (int e = 0; e < Tile::kResults; ++e) {
            row_of(staged, c, granule * Tile::kResults + e)[column] = sum[e];
          }
        } else if (c < channels && first_column + column < s.width) {
          with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
            using T = std::remove_pointer_t<decltype(type)>;
            const auto to = View<T>::of(static_cast<T*>(p.output), p.steps, s, corner, channels);
            T* const target = to.data + c * to.steps.channel + (first_column + column);
#pragma unroll
            for (int e = 0; e < Tile::kResults; ++e) {
              if (own + e >= begin && own + e < end) {
                target[(own + e) * to.steps.row] = narrow<T>(sum[e]);
              }
            }
          });
        }
      }
      if (stages) {
        __syncthreads();
        const int first = result < begin ? static_cast<int>(min_of(begin - result, kStep)) : 0;
        const int last = static_cast<int>(min_of(kStep, end - result));
        if (first < last) {
          with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
            using T = std::remove_pointer_t<decltype(type)>;
            const auto to = View<T>::of(static_cast<T*>(p.output), p.steps, s, corner, channels);
            store_tile<kGroup, kBlock, kStep, Tile::kWidth>(to, result, first, last, first_column,
                                                            staged);
          });
        }
      }
    }
  });
}

}  // namespace scrn::depthwise::cuda
