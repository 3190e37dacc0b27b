#pragma once

// Exponentials and logarithms of registers, and what else the kernels need of them.

#include "../../common/cpu/parallel.h"
#include "../../common/cpu/vec.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

using namespace scrn::cpu::SCRN_CPU_ISA;
using scrn::cpu::thread_scratch;

constexpr double kLog2e = 1.4426950408889634, kLn2 = 0.6931471805599453;

// Stands for minus infinity in what is interpolated: a weight of zero makes NaN of infinity. What
// is interpolated with it, and lies below kInfinite, is minus infinity.
template <typename A>
constexpr A kLowest = sizeof(A) == 4 ? A(-1e30) : A(-1e300);
template <typename A>
constexpr A kInfinite = sizeof(A) == 4 ? A(-1e20) : A(-1e285);

// What was interpolated, a number or a register of them, with minus infinity where that stands in
// it.
template <typename A>
SCRN_INLINE A or_infinite(A x) {
  return x < kInfinite<A> ? -static_cast<A>(__builtin_inf()) : x;
}
SCRN_INLINE Value<float> or_infinite(Value<float> x) {
  return x < kInfinite<float> ? broadcast(-__builtin_inff()) : x;
}

// 2^t for t <= 0 to 1e-8 of it; where it would be less than 2^-126 it is that. NaN stays NaN.
SCRN_INLINE Value<float> exp2_of(Value<float> t) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: the sum's last digit is one
  t = larger(broadcast<float>(-126.0f), t);
  const Value<float> shifted = t + kRound;
  const Value<float> f = t - (shifted - kRound);
  Value<float> p = fma(broadcast<float>(1.5345812e-4f), f, broadcast<float>(1.3399931e-3f));
  p = fma(p, f, broadcast<float>(9.6184891e-3f));
  p = fma(p, f, broadcast<float>(5.5503286e-2f));
  p = fma(p, f, broadcast<float>(2.4022646e-1f));
  p = fma(p, f, broadcast<float>(6.9314718e-1f));
  p = fma(p, f, broadcast<float>(1.0f));
  const Index<float> power = (bits_of<float>(shifted) << 23) + 0x3f800000;
  return p * reinterpret_cast<Value<float>>(power);
}
SCRN_INLINE Value<double> exp2_of(Value<double> t) {
  Value<double> result{};
  for (int i = 0; i < kLanes<double>; ++i) result[i] = __builtin_exp2(t[i]);
  return result;
}

// The natural logarithm of normal numbers; NaN stays NaN.
SCRN_INLINE Value<float> log_of(Value<float> x) {
  const Index<float> bits = bits_of<float>(x);
  // Mantissas from sqrt(1/2) on, so that the logarithm of what is close to 1 is exact.
  const Index<float> above = bits - 0x3f3504f3;
  const Value<float> exponent = to_value<float>(above >> 23);
  const Value<float> f = reinterpret_cast<Value<float>>((above & 0x007fffff) + 0x3f3504f3) - 1.0f;
  const Value<float> square = f * f;
  Value<float> p = fma(broadcast<float>(7.0376836292e-2f), f, broadcast<float>(-1.1514610310e-1f));
  p = fma(p, f, broadcast<float>(1.1676998740e-1f));
  p = fma(p, f, broadcast<float>(-1.2420140846e-1f));
  p = fma(p, f, broadcast<float>(1.4249322787e-1f));
  p = fma(p, f, broadcast<float>(-1.6668057665e-1f));
  p = fma(p, f, broadcast<float>(2.0000714765e-1f));
  p = fma(p, f, broadcast<float>(-2.4999993993e-1f));
  p = fma(p, f, broadcast<float>(3.3333331174e-1f));
  p = p * square * f;
  p = fma(exponent, broadcast<float>(-2.12194440e-4f), p);
  p = fma(square, broadcast<float>(-0.5f), p);
  const Value<float> result = fma(exponent, broadcast<float>(0.693359375f), f + p);
  return x == x ? result : x;
}
SCRN_INLINE Value<double> log_of(Value<double> x) {
  Value<double> result{};
  for (int i = 0; i < kLanes<double>; ++i) result[i] = __builtin_log(x[i]);
  return result;
}

// Lanes 1 and up of `first`, and behind them lane 0 of `second`.
SCRN_INLINE Value<float> next_lane(Value<float> first, Value<float> second) {
#if defined(__AVX512F__)
  return reinterpret_cast<Value<float>>(_mm512_maskz_alignr_epi32(
      0xffff, reinterpret_cast<__m512i>(second), reinterpret_cast<__m512i>(first), 1));
#elif defined(__AVX2__)
  const __m256i middle =
      _mm256_castps_si256(_mm256_permute2f128_ps(__m256(first), __m256(second), 0x21));
  return Value<float>(
      _mm256_castsi256_ps(_mm256_alignr_epi8(middle, _mm256_castps_si256(__m256(first)), 4)));
#else
  return __builtin_shuffle(first, second, Index<float>{1, 2, 3, 4});
#endif
}

// Every second lane of two registers, from lane kFirst on.
template <int kFirst>
SCRN_INLINE Index<float> every_second(Index<float> a, Index<float> b) {
  Index<float> lanes;
  for (int i = 0; i < kLanes<float>; ++i) lanes[i] = 2 * i + kFirst;
  return __builtin_shuffle(a, b, lanes);
}

// Of S registers of numbers that follow each other, the i-th gets those at i, S + i, 2 S + i, ...
template <int S>
SCRN_INLINE void deinterleave(Index<float>* registers) {
  if constexpr (S > 1) {
    Index<float> even[S / 2], odd[S / 2];
    for (int i = 0; i < S / 2; ++i) {
      even[i] = every_second<0>(registers[2 * i], registers[2 * i + 1]);
      odd[i] = every_second<1>(registers[2 * i], registers[2 * i + 1]);
    }
    deinterleave<S / 2>(even);
    deinterleave<S / 2>(odd);
    for (int i = 0; i < S / 2; ++i) {
      registers[2 * i] = even[i];
      registers[2 * i + 1] = odd[i];
    }
  }
}

// Adds to a row of nodes what cells have for their left and their right ends: one node is the right
// end of a cell and the left one of the next. Not two stores of a register: the second one's load
// would wait for the first to reach the cache.
SCRN_INLINE void add_ends(float* nodes, Value<float> left, Value<float> right) {
#if defined(__AVX512F__)
  const Value<float> shifted = reinterpret_cast<Value<float>>(_mm512_maskz_alignr_epi32(
      0xffff, reinterpret_cast<__m512i>(right), _mm512_setzero_si512(), 15));
#elif defined(__AVX2__)
  const __m256i low = _mm256_castps_si256(_mm256_permute2f128_ps(__m256(right), __m256(right), 8));
  const Value<float> shifted = Value<float>(
      _mm256_castsi256_ps(_mm256_alignr_epi8(_mm256_castps_si256(__m256(right)), low, 12)));
#else
  const Value<float> shifted = __builtin_shuffle(right, Value<float>{}, Index<float>{4, 0, 1, 2});
#endif
  store(nodes, load(nodes) + (left + shifted));
  nodes[kLanes<float>] += right[kLanes<float> - 1];
}
SCRN_INLINE void add_ends(double* nodes, Value<double> left, Value<double> right) {
  store(nodes, load(nodes) + left);
  store(nodes + 1, load(nodes + 1) + right);
}

// A bit for every lane whose mask is set, lane 0 the lowest.
SCRN_INLINE uint32_t lanes_of(Index<float> mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(__m512i(mask));
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(__m256i(mask))));
#else
  uint32_t lanes = 0;
  for (int i = 0; i < kLanes<float>; ++i) lanes |= static_cast<uint32_t>(mask[i] != 0) << i;
  return lanes;
#endif
}
SCRN_INLINE bool any(Index<float> mask) { return lanes_of(mask) != 0; }
SCRN_INLINE bool any(Index<double> mask) {
  int64_t found = 0;
  for (int i = 0; i < kLanes<double>; ++i) found |= mask[i];
  return found != 0;
}

SCRN_INLINE int32_t sum_of(Index<float> x) {
  int32_t total = 0;
  for (int i = 0; i < kLanes<float>; ++i) total += x[i];
  return total;
}
template <typename A>
SCRN_INLINE A sum_of(Value<A> x) {
  A total = 0;
  for (int i = 0; i < kLanes<A>; ++i) total += x[i];
  return total;
}

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
