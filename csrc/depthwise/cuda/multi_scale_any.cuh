#pragma once

// Strips of any lengths. What the kernels of 7, 11 and 21 keep in registers is read from shared
// memory at each tap here, in loops as long as the strips.

#include "multi_scale_tile.cuh"

namespace scrn::depthwise::cuda {

// Adds to neighbours of a row what a strip along it makes of the row from `from` on, the first
// result's window.
template <int kCount, typename A>
SCRN_DEVICE void any_strip(const A* from, const A* weights, int length, bool flipped,
                           A (&sum)[kCount]) {
#pragma unroll 1
  for (int tap = 0; tap < length; ++tap) {
    const A weight = weights[flipped ? length - 1 - tap : tap];
#pragma unroll
    for (int e = 0; e < kCount; ++e) sum[e] += weight * from[tap + e];
  }
}

// The same down a column of a ring, from its row `first` on.
template <int kCount, typename A>
SCRN_DEVICE void any_column(const A* ring, int pitch, int first, int rows, const A* weights,
                            int length, bool flipped, A (&sum)[kCount]) {
#pragma unroll 1
  for (int tap = 0; tap < length; ++tap) {
    const A weight = weights[flipped ? length - 1 - tap : tap];
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      const int row = first + tap + e;
      sum[e] += weight * ring[(row < rows ? row : row - rows) * pitch];
    }
  }
}

// As row_strips of the forward.
template <typename Tile, typename A>
SCRN_DEVICE void any_row_strips(A* shared, const Strips& strips, int64_t step, int64_t first_row,
                                int height) {
  constexpr int kItems = Tile::kWidth / Tile::kResults, kRing = Tile::strip_ring(0);
  const int i = threadIdx.x;
  const int row = i % Tile::kStep, c = i / (Tile::kStep * kItems);
  const int column = i / Tile::kStep % kItems * Tile::kResults;
  const bool inside = first_row + row < height;
  const Rows<A> local{shared + Tile::kLocalAt, Tile::kLocalPlane, Tile::kLocalPitch,
                      static_cast<int>(step % Tile::kLocalRing) * Tile::kResults,
                      Tile::kLocalRing * Tile::kResults};
  const A* const weights = shared + c * Tile::kWeights;
#pragma unroll 1
  for (int strip = 0; strip < kStrips; ++strip) {
    const int length = strips.length[strip];
    A sum[Tile::kResults];
#pragma unroll
    for (A& each : sum) each = inside ? weights[Tile::row_bias(strip)] : A(0);
    if (inside) {
      any_strip(row_of(local, c, row) + column + Tile::kRadius - length / 2,
                weights + Tile::row_weights(strip), length, false, sum);
    }
    const Rows<A> to{shared + Tile::strip_at(strip), Tile::strip_plane(strip), Tile::kPitch,
                     static_cast<int>(step % kRing) * Tile::kResults, kRing * Tile::kResults};
    store_row(row_of(to, c, row) + column, sum);
  }
}

// As column_strips of the forward.
template <typename Tile, typename A>
SCRN_DEVICE void any_column_strips(const A* shared, const Strips& strips, int64_t step, int c,
                                   int column, A (&sum)[Tile::kResults]) {
  constexpr int kRing = Tile::strip_ring(0), kLocalRing = Tile::kLocalRing;
  constexpr int kOldest = kWindowGranules<Tile> - 1;
  static_assert(Tile::kGranules == 1 && kRing == kWindowGranules<Tile>, "the ring is the window");
  const A* const weights = shared + c * Tile::kWeights;
  const int newest = static_cast<int>(step % kLocalRing) + kLocalRing - kOldest % kLocalRing;
  const A* const local = shared + Tile::kLocalAt + c * Tile::kLocalPlane + Tile::kRadius + column;
#pragma unroll
  for (int e = 0; e < Tile::kResults; ++e) {
    const int row =
        (newest * Tile::kResults + kResultRow<Tile> + e) % (kLocalRing * Tile::kResults);
    sum[e] = local[row * Tile::kLocalPitch] + weights[Tile::column_bias(0)] +
             weights[Tile::column_bias(1)] + weights[Tile::column_bias(2)];
  }
  const int oldest = static_cast<int>((step + 1) % kRing) * Tile::kResults;
#pragma unroll 1
  for (int strip = 0; strip < kStrips; ++strip) {
    const int length = strips.length[strip], rows = kRing * Tile::kResults;
    const int first = oldest + kResultRow<Tile> - length / 2;
    any_column(shared + Tile::strip_at(strip) + c * Tile::strip_plane(strip) + column, Tile::kPitch,
               first < rows ? first : first - rows, rows, weights + Tile::column_weights(strip),
               length, false, sum);
  }
}

// As row_maps of the backward.
template <typename Tile, typename A>
SCRN_DEVICE void any_row_maps(A* shared, const Strips& strips, const Thread& thread, int rows) {
  const int strip = thread.role, length = strips.length[strip];
  const int item = thread.number % Tile::kWidth;
  const int row = item % Tile::kStep, column = item / Tile::kStep * Tile::kResults;
  const A* const weights = shared + thread.channel * Tile::kWeights;
  A sum[Tile::kResults];
#pragma unroll
  for (A& each : sum) each = row < rows ? weights[Tile::row_bias(strip)] : A(0);
  if (row < rows) {
    any_strip(shared + Tile::kLocalAt + thread.channel * Tile::kLocalPlane +
                  row * Tile::kLocalPitch + column + Tile::kRadius - length / 2,
              weights + Tile::row_weights(strip), length, false, sum);
  }
  store_row(
      shared + Tile::row_at(strip) + thread.channel * Tile::kRowPlane + row * Tile::kPitch + column,
      sum);
}

// As column_maps of the backward, without gradients.
template <typename Tile, typename A>
SCRN_DEVICE void any_column_maps(A* shared, const Strips& strips, int64_t step,
                                 const Thread& thread, int rows) {
  static_assert(Tile::kGranules == 1, "a step is a granule");
  constexpr int kRows = Tile::kRing * Tile::kResults;
  const int strip = thread.role, length = strips.length[strip];
  const int columns = Tile::kWidth + length - 1;
  const int first =
      static_cast<int>(step % Tile::kRing) * Tile::kResults + kResultRow<Tile> - length / 2;
  for (int i = thread.number; i < Tile::kGroup * columns; i += Tile::kSpan) {
    const int c = i / columns, column = i % columns + Tile::kRadius - length / 2;
    A sum[Tile::kResults];
#pragma unroll
    for (A& each : sum) each = 0;
    any_column(shared + Tile::kGradAt + c * Tile::kGradPlane + column, Tile::kLocalPitch,
               first < kRows ? first : first - kRows, kRows,
               shared + c * Tile::kWeights + Tile::column_weights(strip), length, true, sum);
    A* const to = shared + Tile::column_at(strip) + c * Tile::kColumnPlane + column;
#pragma unroll
    for (int e = 0; e < Tile::kResults; ++e) to[e * Tile::kLocalPitch] = e < rows ? sum[e] : A(0);
  }
}

// As row_results of the backward, without gradients.
template <typename Tile, typename A>
SCRN_DEVICE void any_row_results(A* shared, const Strips& strips, const Rows<A>& grads,
                                 const Thread& thread) {
  const int strip = thread.role, length = strips.length[strip];
  const int item = thread.number % Tile::kWidth;
  const int row = item % Tile::kStep, column = item / Tile::kStep * Tile::kResults;
  const A* const grad =
      row_of(grads, thread.channel, kResultRow<Tile> + row) + Tile::kRadius + column;
  A sum[Tile::kResults];
#pragma unroll
  for (int e = 0; e < Tile::kResults; ++e) sum[e] = strip == 0 ? grad[e] : A(0);
  any_strip(shared + Tile::column_at(strip) + thread.channel * Tile::kColumnPlane +
                row * Tile::kLocalPitch + column + Tile::kRadius - length / 2,
            shared + thread.channel * Tile::kWeights + Tile::row_weights(strip), length, true, sum);
  store_row(
      shared + Tile::row_at(strip) + thread.channel * Tile::kRowPlane + row * Tile::kPitch + column,
      sum);
}

// One of the weights, whose gradient a thread adds up: a tap of a strip; in rows also, behind the
// taps, the biases of the three rows, and that of the columns.
struct Weight {
  int channel, strip, tap;  // tap == length: a bias; strip == kStrips: the columns'
};

SCRN_DEVICE Weight weight_of(const Strips& strips, int item, int each) {
  Weight weight{item / each, 0, item % each};
#pragma unroll
  for (int i = 0; i < kStrips; ++i) {
    if (weight.strip == i && weight.tap >= strips.length[i]) {
      weight.tap -= strips.length[i];
      ++weight.strip;
    }
  }
  if (weight.strip < kStrips) return weight;
  const int bias = weight.tap;
  return {weight.channel, bias, bias < kStrips ? strips.length[bias] : 0};
}

SCRN_DEVICE int taps_of(const Strips& strips) {
  return strips.length[0] + strips.length[1] + strips.length[2];
}

// Adds to a thread's sums what h and g of a step are to the columns' weights.
template <typename Tile, typename A>
SCRN_DEVICE void any_column_sums(const A* shared, const Strips& strips, const Rows<A>& grads,
                                 int rows, A (&sums)[Tile::kSums]) {
  const int each = taps_of(strips);
#pragma unroll
  for (int slot = 0; slot < Tile::kColumnItems; ++slot) {
    const int item = static_cast<int>(threadIdx.x) + slot * Tile::kBlock;
    if (item >= each * Tile::kGroup) continue;
    const Weight weight = weight_of(strips, item, each);
    const int shift = kResultRow<Tile> + strips.length[weight.strip] / 2 - weight.tap;
    const A* map = shared + Tile::row_at(weight.strip) + weight.channel * Tile::kRowPlane;
    for (int row = 0; row < rows; ++row, map += Tile::kPitch) {
      const A* const grad = row_of(grads, weight.channel, shift + row) + Tile::kRadius;
#pragma unroll 4
      for (int x = 0; x < Tile::kWidth; ++x) sums[slot] += map[x] * grad[x];
    }
  }
}

// And u, l and g to the rows' weights and to the biases.
template <typename Tile, typename A>
SCRN_DEVICE void any_row_sums(const A* shared, const Strips& strips, const Rows<A>& grads, int rows,
                              A (&sums)[Tile::kSums]) {
  const int each = taps_of(strips) + kStrips + 1;
#pragma unroll
  for (int slot = 0; slot < Tile::kRowItems; ++slot) {
    const int item = static_cast<int>(threadIdx.x) + slot * Tile::kBlock;
    if (item >= each * Tile::kGroup) continue;
    const Weight weight = weight_of(strips, item, each);
    const bool of_columns = weight.strip == kStrips;
    const int length = of_columns ? 0 : strips.length[weight.strip];
    const A* const locals = shared + Tile::kLocalAt + weight.channel * Tile::kLocalPlane +
                            Tile::kRadius - length / 2 + weight.tap;
    const A* const maps = shared + Tile::column_at(of_columns ? 0 : weight.strip) +
                          weight.channel * Tile::kColumnPlane + Tile::kRadius;
    A& sum = sums[Tile::kColumnItems + slot];
    for (int row = 0; row < rows; ++row) {
      const A* const map =
          of_columns ? row_of(grads, weight.channel, kResultRow<Tile> + row) + Tile::kRadius
                     : maps + row * Tile::kLocalPitch;
      const A* const local = locals + row * Tile::kLocalPitch;
#pragma unroll 4
      for (int x = 0; x < Tile::kWidth; ++x) {
        sum += weight.tap < length ? map[x] * local[x] : map[x];
      }
    }
  }
}

// As store_sums of the backward, of a thread's sums.
template <typename Tile, typename A>
SCRN_DEVICE void any_store_sums(const Strips& strips, const A (&sums)[Tile::kSums], int channels,
                                int taps, int64_t tiles, A* to) {
#pragma unroll
  for (int slot = 0; slot < Tile::kSums; ++slot) {
    const bool rows = slot >= Tile::kColumnItems;
    const int each = taps_of(strips) + (rows ? kStrips + 1 : 0);
    const int item =
        static_cast<int>(threadIdx.x) + (rows ? slot - Tile::kColumnItems : slot) * Tile::kBlock;
    if (item >= each * channels) continue;
    const Weight weight = weight_of(strips, item, each);
    A* const gradient = to + weight.channel * taps * tiles;
    int first = kLocal * kLocal + 1;
#pragma unroll
    for (int strip = 0; strip < kStrips; ++strip) {
      const int column = first + strips.length[strip] + 1;
      if (strip == weight.strip)
        gradient[((rows ? first : column) + weight.tap) * tiles] = sums[slot];
      if (weight.strip == kStrips) gradient[(column + strips.length[strip]) * tiles] = sums[slot];
      first = column + strips.length[strip] + 1;
    }
  }
}

}  // namespace scrn::depthwise::cuda
