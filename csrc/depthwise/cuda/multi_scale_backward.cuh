#pragma once

// The first kernel of the multi-scale unit's backward: the gradient of the local map, and of the
// strips' weights what a tile has of it. A block walks down its tile as the forward does. Of a step
// it needs the local map, what the row strips make of it (h), and the gradient that came in, g, in
// a ring; from them u = column^T g, and then g + sum row^T u. Warps share the strips: each has so
// few that the gradients of their weights stay in its registers.

#include "multi_scale_any.cuh"
#include "sums.cuh"

namespace scrn::depthwise::cuda {

template <typename Sum, int kKind>
struct BackwardTile : Tile<Sum, kKind> {
  using Base = Tile<Sum, kKind>;
  using typename Base::A;
  // A role is strip 21, or 7 and 11; of strips of any lengths each is one.
  static constexpr int kRoles = Base::kIsAny ? 3 : 2;
  static constexpr int kSpan = Base::kGroup * Base::kWidth;  // threads of a role
  static constexpr int kBlock = kRoles * kSpan;
  static constexpr int kMinBlocks = sizeof(A) == 8 ? 1 : (511 + kBlock) / kBlock;
  // Lines that are loaded at a time, beside the sums that stay in registers.
  static constexpr int kTogether = kKind == kWide ? 2 : 1;
  static constexpr int kItem = 12, kApart = kKind == kGrouped ? 8 : 12;
  static constexpr int kKernelRows = 1;

  // A thread's sums: columns' weights, rows' weights, row biases of up to two strips, and g.
  static constexpr int kRowSums = 21;
  static constexpr int kBiasSums = 2 * kRowSums;
  static constexpr int kGradSum = kBiasSums + 2;
  // Strips of any lengths: each of the weights has a thread.
  static constexpr int kMost = Base::kGroup * kStrips * kMaxStrip;
  static constexpr int kColumnItems = (kMost + kBlock - 1) / kBlock;
  static constexpr int kRowItems = (kMost + Base::kGroup * (kStrips + 1) + kBlock - 1) / kBlock;
  static constexpr int kSums = Base::kIsAny ? kColumnItems + kRowItems : kGradSum + 1;

  static constexpr int kRing = ring_granules<Base>(0);  // of g
  // Shared memory: a plane of each for every channel. The input is dead when u comes.
  static constexpr int kGradPlane = plane_pitch(kRing * Base::kResults * Base::kLocalPitch);
  static constexpr int kGradAt = Base::kGroup * Base::kWeights;
  static constexpr int kLocalPlane = Base::kStep * Base::kLocalPitch;
  static constexpr int kLocalAt = kGradAt + Base::kGroup * kGradPlane;
  // h of each strip, then what each role has of the result.
  static constexpr int kRowPlane = Base::kStep * Base::kPitch;
  SCRN_HOST_DEVICE constexpr int row_at(int strip) {
    return kLocalAt + Base::kGroup * (kLocalPlane + strip * kRowPlane);
  }
  static constexpr int kColumnPlane = Base::kStep * Base::kLocalPitch;
  SCRN_HOST_DEVICE constexpr int column_at(int strip) {
    return row_at(kStrips) + Base::kGroup * strip * kColumnPlane;
  }
  static constexpr int kInputAt = column_at(0);
  static constexpr int kElements = column_at(kStrips);
  static constexpr int kBytes = kElements * static_cast<int>(sizeof(A));
  static_assert(Base::kInputPlane <= kStrips * kColumnPlane, "the input fits");
  static_assert(kBlock / kSegment<Base::kWidth> * kSums <= Base::kGroup * kStrips * kColumnPlane,
                "the sums fit");
};

// Calls f(strip, place of its weights among the sums, place of its bias) for a role's strips.
template <typename Tile, typename F>
SCRN_DEVICE void for_strips(int role, F&& f) {
  using std::integral_constant;
  constexpr integral_constant<int, 0> kZero{};
  constexpr integral_constant<int, 1> kOne{};
  constexpr integral_constant<int, 2> kTwo{};
  if (role == 0) {
    f(kTwo, kZero, kZero);
  } else {
    f(kZero, kZero, kZero);
    f(kOne, integral_constant<int, Tile::length(0)>{}, kOne);
  }
}

template <typename Tile>
SCRN_DEVICE Thread this_thread() {
  const int i = static_cast<int>(threadIdx.x), number = i % Tile::kSpan;
  return {i / Tile::kSpan, number, number / Tile::kWidth};
}

// h = row strip of the local map, which lies in shared memory; zero in rows from `rows` on.
template <typename Tile, typename A>
SCRN_DEVICE void row_maps(A* shared, const Thread& thread, int rows) {
  constexpr int kEach = Tile::kStep * Tile::kWidth / Tile::kResults;  // items of a channel
  const A* const weights = shared + thread.channel * Tile::kWeights;
#pragma unroll
  for (int part = 0; part < Tile::kGranules; ++part) {
    const int item = thread.number % Tile::kWidth + part * Tile::kWidth;
    static_assert(kEach == Tile::kGranules * Tile::kWidth, "items are threads");
    const int row = item % Tile::kStep, column = item / Tile::kStep * Tile::kResults;
    A window[Tile::whole(Tile::kResults + 2 * Tile::kRadius)];
    load_row(window, shared + Tile::kLocalAt + thread.channel * Tile::kLocalPlane +
                         row * Tile::kLocalPitch + column);
    for_strips<Tile>(thread.role, [&](auto which, auto, auto) {
      constexpr int kStrip = decltype(which)::value;
      A sum[Tile::kResults];
#pragma unroll
      for (A& each : sum) each = weights[Tile::row_bias(kStrip)];
      add_row_strip<Tile, kStrip, false, 0>(window, weights + Tile::row_weights(kStrip), sum);
#pragma unroll
      for (A& each : sum) each = row < rows ? each : A(0);
      store_row(shared + Tile::row_at(kStrip) + thread.channel * Tile::kRowPlane +
                    row * Tile::kPitch + column,
                sum);
    });
  }
}

// u = transposed column strip of g in local column `column`, and what it adds to the sums.
template <typename Tile, int kStrip, bool kHasGradient, int kFirst, typename A>
SCRN_DEVICE void column_map(A* shared, int64_t step, int c, int granule, int column, int rows,
                            std::integral_constant<int, kFirst> first, A (&sums)[Tile::kSums]) {
  constexpr int kRow = kWindowRow<Tile, kStrip>;
  constexpr int kOldest = kWindowGranules<Tile> - 1;
  const int newest = static_cast<int>(
      (static_cast<uint32_t>(step) * Tile::kGranules + granule + kOldest) % Tile::kRing);
  const auto grads = column_of<Tile, kRow>(shared + Tile::kGradAt + c * Tile::kGradPlane + column,
                                           Tile::kLocalPitch, newest, Tile::kRing);
  A map[Tile::kResults], sum[Tile::kResults];
#pragma unroll
  for (int e = 0; e < Tile::kResults; ++e) {
    sum[e] = 0;
    map[e] = kHasGradient
                 ? shared[Tile::row_at(kStrip) + c * Tile::kRowPlane +
                          (granule * Tile::kResults + e) * Tile::kPitch + column - Tile::kRadius]
                 : A(0);
  }
  add_transposed_column<Tile, kStrip, kHasGradient>(
      grads, shared + c * Tile::kWeights + Tile::column_weights(kStrip), map, sum, first, sums);
#pragma unroll
  for (int e = 0; e < Tile::kResults; ++e) {
    const int row = granule * Tile::kResults + e;
    shared[Tile::column_at(kStrip) + c * Tile::kColumnPlane + row * Tile::kLocalPitch + column] =
        row < rows ? sum[e] : A(0);
  }
}

// u of the tile's columns and of those beside it that the row strips reach.
template <typename Tile, typename A>
SCRN_DEVICE void column_maps(A* shared, int64_t step, const Thread& thread, int rows,
                             bool has_gradient, A (&sums)[Tile::kSums]) {
  const int own = Tile::kRadius + thread.number % Tile::kWidth;
  for_strips<Tile>(thread.role, [&](auto which, auto first, auto) {
    constexpr int kStrip = decltype(which)::value, kReach = Tile::length(kStrip) / 2;
#pragma unroll
    for (int granule = 0; granule < Tile::kGranules; ++granule) {
      if (has_gradient) {
        column_map<Tile, kStrip, true>(shared, step, thread.channel, granule, own, rows, first,
                                       sums);
      } else {
        column_map<Tile, kStrip, false>(shared, step, thread.channel, granule, own, rows, first,
                                        sums);
      }
    }
    for (int i = thread.number; i < Tile::kGroup * Tile::kGranules * 2 * kReach; i += Tile::kSpan) {
      const int beside = i % (2 * kReach), rest = i / (2 * kReach);
      const int column = Tile::kRadius - kReach + beside + (beside < kReach ? 0 : Tile::kWidth);
      column_map<Tile, kStrip, false>(shared, step, rest / Tile::kGranules, rest % Tile::kGranules,
                                      column, rows, first, sums);
    }
  });
}

// A role's part of the result, to where h was, and the gradients of the rows' weights and biases.
template <typename Tile, typename A>
SCRN_DEVICE void row_results(A* shared, const Rows<A>& grads, const Thread& thread, int rows,
                             bool has_gradient, A (&sums)[Tile::kSums]) {
  const A* const weights = shared + thread.channel * Tile::kWeights;
#pragma unroll
  for (int part = 0; part < Tile::kGranules; ++part) {
    const int item = thread.number % Tile::kWidth + part * Tile::kWidth;
    const int row = item % Tile::kStep, column = item / Tile::kStep * Tile::kResults;
    A sum[Tile::kResults];
#pragma unroll
    for (A& each : sum) each = 0;
    if (thread.role == 0) {
      const A* const grad =
          row_of(grads, thread.channel, kResultRow<Tile> + row) + Tile::kRadius + column;
#pragma unroll
      for (int e = 0; e < Tile::kResults; ++e) {
        sum[e] = grad[e];
        sums[Tile::kGradSum] += row < rows ? grad[e] : A(0);
      }
    }
    for_strips<Tile>(thread.role, [&](auto which, auto first, auto bias) {
      constexpr int kStrip = decltype(which)::value, kLength = Tile::length(kStrip);
      constexpr int kSkip = kRowSkip<Tile, kStrip>;
      constexpr int kWindow = kRowWindow<Tile, kStrip, Tile::kResults>;
      constexpr int kCentre = Tile::kRadius - kSkip, kReach = kLength / 2;
      const int at = row * Tile::kLocalPitch + column + kSkip;
      A window[kWindow];
      load_row(window, shared + Tile::column_at(kStrip) + thread.channel * Tile::kColumnPlane + at);
      add_row_strip<Tile, kStrip, true, kSkip>(window, weights + Tile::row_weights(kStrip), sum);
      if (!has_gradient) return;
      A local[kWindow];
      load_row(local, shared + Tile::kLocalAt + thread.channel * Tile::kLocalPlane + at);
#pragma unroll
      for (int tap = 0; tap < kLength; ++tap) {
        A& gradient = sums[Tile::kRowSums + decltype(first)::value + tap];
#pragma unroll
        for (int e = 0; e < Tile::kResults; ++e) {
          gradient += window[kCentre + e] * local[kCentre - kReach + e + tap];
        }
      }
#pragma unroll
      for (int e = 0; e < Tile::kResults; ++e) {
        sums[Tile::kBiasSums + decltype(bias)::value] += window[kCentre + e];
      }
    });
    store_row(shared + Tile::row_at(thread.role) + thread.channel * Tile::kRowPlane +
                  row * Tile::kPitch + column,
              sum);
  }
}

// Writes a tile's sums to where they belong: to[(channel * taps + tap) * tiles].
template <typename Tile, typename A>
SCRN_DEVICE void store_sums(const A* scratch, const Strips& strips, int channels, int taps,
                            int64_t tiles, A* to) {
  constexpr int kFirst = kLocal * kLocal + 1;
  for (int i = threadIdx.x; i < Tile::kRoles * channels * Tile::kSums; i += Tile::kBlock) {
    const int v = i % Tile::kSums, c = i / Tile::kSums % channels;
    const int role = i / Tile::kSums / channels;
    const A sum = added_up<Tile::kWidth>(scratch, Tile::kSums, role * Tile::kGroup + c, v);
    A* const gradient = to + c * taps * tiles;
    int row = kFirst;
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
      const int n = strips.length[strip], column = row + n + 1;
      const bool own = (strip == 2) == (role == 0);
      const int first = strip == 1 ? Tile::length(0) : 0;
      if (own) {
        if (v >= first && v < first + n) gradient[(column + v - first) * tiles] = sum;
        const int along = v - Tile::kRowSums - first;
        if (along >= 0 && along < n) gradient[(row + along) * tiles] = sum;
        if (v == Tile::kBiasSums + (strip == 1)) gradient[(row + n) * tiles] = sum;
      }
      if (role == 0 && v == Tile::kGradSum) gradient[(column + n) * tiles] = sum;
      row = column + n + 1;
    }
  }
}

template <typename A, int kKind>
__global__ void __launch_bounds__((BackwardTile<A, kKind>::kBlock),
                                  (BackwardTile<A, kKind>::kMinBlocks))
    multi_scale_backward_kernel(const MultiScaleParams p) {
  using Tile = BackwardTile<A, kKind>;
  constexpr int kGroup = Tile::kGroup, kBlock = Tile::kBlock, kStep = Tile::kStep;
  constexpr int kRadius = Tile::kRadius, kHalo = kLocal / 2;
  SCRN_DYNAMIC_SHARED(A, shared);
  SCRN_SHARED(Corner, corner, );
  const UnitShape& s = p.shape;
  const Thread thread = this_thread<Tile>();
  const bool has_gradient = p.partial != nullptr;
  const Rows<A> inputs{shared + Tile::kInputAt, Tile::kInputPlane, Tile::kInputPitch, 0,
                       Tile::kInputRows};
  const Rows<A> local{shared + Tile::kLocalAt, Tile::kLocalPlane, Tile::kLocalPitch, 0, kStep};
  const Steps planes = steps_of(s, false);

  for_tiles<kGroup>(p, corner, [&] {
    const int channels = channels_of(s, corner, kGroup);
    const int64_t first_column = corner.x0, begin = corner.y0, end = corner.y1;

    load_strips<Tile, kBlock>(shared, p, corner);
    A sums[Tile::kSums];
#pragma unroll
    for (A& each : sums) each = 0;
    for (int64_t step = 0; begin + step * kStep < end; ++step) {
      const int64_t row = begin + step * kStep;
      const int rows = static_cast<int>(min_of(kStep, end - row));
      Rows<A> to{shared + Tile::kGradAt, Tile::kGradPlane, Tile::kLocalPitch, 0,
                 Tile::kRing * Tile::kResults};
      if (step > 0) {
        to.slot =
            static_cast<int>(static_cast<uint32_t>(step - 1) * Tile::kGranules % Tile::kRing) *
            Tile::kResults;
      }
      with_type(MapsOf<A>{}, s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const auto grad =
            View<const T>::of(static_cast<const T*>(p.grad), p.steps, s, corner, channels);
        if (step == 0) {
          load_tile<kGroup, kBlock, Tile::kRing * Tile::kResults, Tile::kLocalColumns,
                    Tile::kTogether>(grad, row - kResultRow<Tile>, first_column - kRadius, to);
        } else {
          load_tile<kGroup, kBlock, kStep, Tile::kLocalColumns, Tile::kTogether>(
              grad, row + kRadius, first_column - kRadius, to);
        }
        if (has_gradient) {
          const auto input =
              View<const T>::of(static_cast<const T*>(p.input), p.steps, s, corner, channels);
          load_tile<kGroup, kBlock, Tile::kInputRows, Tile::kInputColumns, Tile::kTogether>(
              input, row - kHalo, first_column - kRadius - kHalo, inputs);
        }
      });
      const Rows<A> grads{
          shared + Tile::kGradAt, Tile::kGradPlane, Tile::kLocalPitch,
          static_cast<int>(static_cast<uint32_t>(step) * Tile::kGranules % Tile::kRing) *
              Tile::kResults,
          Tile::kRing * Tile::kResults};
      if (has_gradient) {
        __syncthreads();
        local_map<Tile, kBlock, Tile::kItem, Tile::kApart, Tile::kKernelRows>(
            inputs, shared, row, s.height, first_column - kRadius, s.width, local);
        __syncthreads();
        if constexpr (Tile::kIsAny) {
          any_row_maps<Tile>(shared, p.strips, thread, rows);
        } else {
          row_maps<Tile>(shared, thread, rows);
        }
      }
      __syncthreads();
      if constexpr (Tile::kIsAny) {
        if (has_gradient) any_column_sums<Tile>(shared, p.strips, grads, rows, sums);
        any_column_maps<Tile>(shared, p.strips, step, thread, rows);
        __syncthreads();
        if (has_gradient) any_row_sums<Tile>(shared, p.strips, grads, rows, sums);
        any_row_results<Tile>(shared, p.strips, grads, thread);
      } else {
        column_maps<Tile>(shared, step, thread, rows, has_gradient, sums);
        __syncthreads();
        row_results<Tile>(shared, grads, thread, rows, has_gradient, sums);
      }
      __syncthreads();
      const auto result = View<A>::of(static_cast<A*>(p.grad_local), planes, s, corner, channels);
      const Rows<A> part{shared + Tile::row_at(0), Tile::kRowPlane, Tile::kPitch, 0, kStep};
      store_tile<kGroup, kBlock, kStep, Tile::kWidth, Tile::kRoles>(
          result, row, 0, rows, first_column, part, kGroup * Tile::kRowPlane);
    }
    __syncthreads();
    if (has_gradient) {
      const int64_t tiles = p.tiling.tiles;
      A* const gradient =
          static_cast<A*>(p.partial) + corner.channel * p.taps * tiles + corner.tile;
      if constexpr (Tile::kIsAny) {
        any_store_sums<Tile>(p.strips, sums, channels, p.taps, tiles, gradient);
      } else {
        A* const scratch = shared + Tile::kInputAt;
        add_up<Tile::kWidth>(sums, scratch);
        __syncthreads();
        store_sums<Tile>(scratch, p.strips, channels, p.taps, tiles, gradient);
      }
    }
  });
}

}  // namespace scrn::depthwise::cuda
