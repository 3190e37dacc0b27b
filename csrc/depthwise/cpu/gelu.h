#pragma once

// The exact GELU, x * Phi(x), and its derivative, Phi(x) + x * phi(x).

#include "../../common/cpu/exp.h"
#include "blocks.h"

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

template <typename A>
struct Normal {
  Value<A> below;    // Phi
  Value<A> density;  // phi
};

// erfc(z) = t P(t) exp(-z^2) with t = 1 / (1 + z / 2), for z >= 0: a fit to 6e-9 of Phi, so that
// what is left is the rounding.
SCRN_INLINE Normal<float> normal(Value<float> x) {
  const Value<float> z = magnitude(x) * 0.70710678f;
  const Value<float> e = exp_negative(-z * z);
  const Value<float> one = broadcast<float>(1.0f);
  // Of the largest x it is no quotient any more, where e is 0; of infinity NaN, as in the slope.
  const Value<float> t = divide(one, fma(z, broadcast<float>(0.5f), one));
  Value<float> p = broadcast<float>(0.058793200791565026f);
  p = fma(p, t, broadcast<float>(-0.2181971885257322f));
  p = fma(p, t, broadcast<float>(0.1220970553056574f));
  p = fma(p, t, broadcast<float>(0.30776626446486177f));
  p = fma(p, t, broadcast<float>(0.13079329014116764f));
  p = fma(p, t, broadcast<float>(0.32171436185850044f));
  p = fma(p, t, broadcast<float>(0.2770330273520675f));
  const Value<float> tail = 0.5f * p * t * e;
  return {x < 0.0f ? tail : 1.0f - tail, e * 0.39894228f};
}

SCRN_INLINE Normal<double> normal(Value<double> x) {
  Normal<double> result;
  for (int i = 0; i < kLanes<double>; ++i) {
    result.below[i] = 0.5 * __builtin_erfc(-x[i] * 0.70710678118654752440);
    result.density[i] = 0.39894228040143267794 * __builtin_exp(-0.5 * x[i] * x[i]);
  }
  return result;
}

// Phi(x) = 1/2 + x P(x^2) / Q(x^2) for |x| <= 5.4, fitted to 6e-9; outside it is 0 or 1. Half the
// work of `normal`, whose density only the slope needs.
SCRN_INLINE Value<float> gelu(Value<float> x) {
  constexpr float kEnd = 5.4f;
  const Value<float> inside = smaller(broadcast(kEnd), larger(broadcast(-kEnd), x));
  const Value<float> u = inside * inside;
  Value<float> p = broadcast<float>(2.3386924185176684e-08f);
  Value<float> q = broadcast<float>(1.2165953005155382e-06f);
  p = fma(p, u, broadcast<float>(6.3600028817682105e-06f));
  q = fma(q, u, broadcast<float>(7.239938816727329e-05f));
  p = fma(p, u, broadcast<float>(0.00016431919717282563f));
  q = fma(q, u, broadcast<float>(0.001858967243930945f));
  p = fma(p, u, broadcast<float>(0.004650835801345118f));
  q = fma(q, u, broadcast<float>(0.028378546353127258f));
  p = fma(p, u, broadcast<float>(0.033371983630394834f));
  q = fma(q, u, broadcast<float>(0.2503172468346181f));
  p = fma(p, u, broadcast<float>(0.3989422453759096f));
  q = fma(q, u, broadcast<float>(1.0f));
  const Value<float> below = fma(inside, divide(p, q), broadcast<float>(0.5f));
  return x * (x < -kEnd ? Value<float>{} : below);
}

SCRN_INLINE Value<double> gelu(Value<double> x) { return x * normal(x).below; }

// x[i] = gelu(x[i]), in the place of which AVX-512, where 32 numbers can be looked up at once, has
// x / 2 + |x| (Phi(|x|) - 1/2) by pieces: two thirds of the work.
template <int kOut, typename A>
SCRN_INLINE void gelu_block(Value<A>* x, [[maybe_unused]] const float* table) {
  if constexpr (!kSelects<A>) {
    for (int i = 0; i < kOut; ++i) x[i] = gelu(x[i]);
#if defined(__AVX512F__)
  } else {
    static_assert(kGeluPieces == 2 * kLanes<A> && kOut % 4 == 0, "as the table is read here");
    constexpr float kPiece = kGeluPiece, kEnd = kPiece * (kGeluPieces - 1);
    constexpr float kRound = 8388608.0f;  // 2^23: the sum's last digit is one
#pragma GCC unroll 4
    for (int first = 0; first < kOut; first += 4) {
      Value<A> size[4], r[4], p[4];
      Index<A> piece[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        size[i] = magnitude(x[first + i]);
        const Value<A> inside = smaller(broadcast(kEnd), size[i]);
        const Value<A> rounded = fma(inside, broadcast(1 / kPiece), broadcast(kRound));
        piece[i] = bits_of<A>(rounded);
        r[i] = fma(rounded - kRound, broadcast(-kPiece), inside);
        p[i] = select(table + kGeluDegree * kGeluPieces, piece[i]);
      }
#pragma GCC unroll 8
      for (int k = kGeluDegree - 1; k >= 0; --k) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          p[i] = fma(p[i], r[i], select(table + k * kGeluPieces, piece[i]));
        }
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) x[first + i] = fma(size[i], p[i], x[first + i] * A(0.5));
    }
#endif
  }
}

template <typename A>
SCRN_INLINE Value<A> gelu_slope(Value<A> x) {
  const Normal<A> n = normal(x);
  return fma(x, n.density, n.below);
}

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
