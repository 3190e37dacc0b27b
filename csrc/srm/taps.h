#pragma once

// Where one output pixel reads along one dimension, and with which weights: the geometry that
// the CPU and the CUDA kernels of Eq. 4 share. Both dimensions are alike and separate.

#include <cmath>
#include <cstdint>

#include "../common/macros.h"

namespace scrn::srm {

// The coordinate (i * mul + add) / den of output index i on the input's grid, kept as integers:
// its cell is then exact and its fraction is rounded once, at any map size.
struct Ratio {
  int64_t mul, add, den;
};

inline Ratio identity_ratio() { return {1, 0, 1}; }

inline Ratio resize_ratio(int64_t in_size, int64_t out_size, bool align_corners) {
  if (align_corners) {
    return out_size > 1 ? Ratio{in_size - 1, 0, out_size - 1} : Ratio{0, 0, 1};
  }
  return {2 * in_size, in_size - out_size, 2 * out_size};
}

// Three taps at input indices min(first + r, size - 1), r = 0..2, and the derivative of their
// weights by the offset. A point outside has all weights and slopes zero and first = 0.
template <typename T>
struct Taps {
  int32_t first;
  T weight[3];
  T slope[3];
};

// Quotient and remainder of n / den for 0 <= n; 64-bit division is slow on a GPU, so the
// common case takes the 32-bit one.
SCRN_HOST_DEVICE void divide(int64_t n, int64_t den, int32_t& quotient, int64_t& remainder) {
  if (n <= INT64_C(0xffffffff) && den <= INT64_C(0xffffffff)) {
    const uint32_t q = static_cast<uint32_t>(n) / static_cast<uint32_t>(den);
    quotient = static_cast<int32_t>(q);
    remainder = n - static_cast<int64_t>(q) * den;
  } else {
    const int64_t q = n / den;
    quotient = static_cast<int32_t>(q);
    remainder = n - q * den;
  }
}

// Not only index < size: the float bounds that a cell has passed are rounded ones where a side is
// longer than 2^24, and cell -2 may have passed, too.
SCRN_HOST_DEVICE bool reaches(int32_t index, int32_t size) {
  return static_cast<uint32_t>(index) < static_cast<uint32_t>(size);
}

// Bilinear sampling of the input itself at ratio(index) + offset * mul / den, zero outside.
template <typename T>
SCRN_HOST_DEVICE Taps<T> direct_taps(int32_t index, T offset, int32_t in_size, const Ratio& ratio) {
  Taps<T> taps = {0, {T(0), T(0), T(0)}, {T(0), T(0), T(0)}};
  // Shifted by one cell, since the half-pixel convention starts between -1 and 0.
  int32_t base;
  int64_t remainder;
  divide(index * ratio.mul + ratio.add + ratio.den, ratio.den, base, remainder);
  base -= 1;
  const T scale = static_cast<T>(ratio.mul) / static_cast<T>(ratio.den);
  const T shift = static_cast<T>(remainder) / static_cast<T>(ratio.den) + offset * scale;
  // Written so that NaN is outside before anything is cast to an integer.
  if (!(shift >= static_cast<T>(-1 - base) && shift < static_cast<T>(in_size - base))) {
    return taps;
  }
  const T whole = std::floor(shift);
  const T fraction = shift - whole;
  const int32_t cell = base + static_cast<int32_t>(whole);
  const T low = cell >= 0 ? T(1) : T(0);
  const T high = reaches(cell + 1, in_size) ? T(1) : T(0);
  if (cell >= 0) {
    taps.first = cell;
    taps.weight[0] = (T(1) - fraction) * low;
    taps.weight[1] = fraction * high;
    taps.slope[0] = -scale * low;
    taps.slope[1] = scale * high;
  } else {
    taps.weight[0] = fraction * high;
    taps.slope[0] = scale * high;
  }
  return taps;
}

// Bilinear sampling, at index + offset and zero outside, of the input's bilinear upsampling to
// out_size >= in_size. Neighbouring upsampled positions start at most one input index apart,
// hence three taps. The clamp of an index is the upsampling's border, low and high are the
// sampler's: the two never mix.
template <typename T>
SCRN_HOST_DEVICE Taps<T> upsample_taps(int32_t index, T offset, int32_t out_size,
                                       const Ratio& ratio) {
  Taps<T> taps = {0, {T(0), T(0), T(0)}, {T(0), T(0), T(0)}};
  if (!(offset >= static_cast<T>(-1 - index) && offset < static_cast<T>(out_size - index))) {
    return taps;
  }
  // From the offset alone: the rounded sum index + offset loses the fraction's last digits.
  const T whole = std::floor(offset);
  const T fraction = offset - whole;
  const int32_t cell = index + static_cast<int32_t>(whole);
  const T low = cell >= 0 ? T(1) : T(0);
  const T high = reaches(cell + 1, out_size) ? T(1) : T(0);

  const int64_t n0 = cell * ratio.mul + ratio.add;  // cell = -1 has weight 0 in `low`
  const int64_t n1 = n0 + ratio.mul;
  int32_t first = 0;
  int64_t remainder0 = 0;
  if (n0 > 0) divide(n0, ratio.den, first, remainder0);
  int64_t remainder1 = n1 - first * ratio.den;
  const bool advance = remainder1 >= ratio.den;
  if (advance) remainder1 -= ratio.den;
  if (remainder1 < 0) remainder1 = 0;
  const T inverse = T(1) / static_cast<T>(ratio.den);
  const T part0 = static_cast<T>(remainder0) * inverse;
  const T part1 = static_cast<T>(remainder1) * inverse;

  const T w0 = (T(1) - fraction) * low, w1 = fraction * high;
  taps.first = first;
  taps.weight[0] = w0 * (T(1) - part0) + (advance ? T(0) : w1 * (T(1) - part1));
  taps.weight[1] = w0 * part0 + (advance ? w1 * (T(1) - part1) : w1 * part1);
  taps.weight[2] = advance ? w1 * part1 : T(0);
  taps.slope[0] = -low * (T(1) - part0) + (advance ? T(0) : high * (T(1) - part1));
  taps.slope[1] = -low * part0 + (advance ? high * (T(1) - part1) : high * part1);
  taps.slope[2] = advance ? high * part1 : T(0);
  return taps;
}

template <typename T>
SCRN_HOST_DEVICE Taps<T> sample_taps(bool upsample, int32_t index, T offset, int32_t in_size,
                                     int32_t out_size, const Ratio& ratio) {
  return upsample ? upsample_taps(index, offset, out_size, ratio)
                  : direct_taps(index, offset, in_size, ratio);
}

}  // namespace scrn::srm
