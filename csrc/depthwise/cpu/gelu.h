#pragma once

// The exact GELU, x * Phi(x), and its derivative, Phi(x) + x * phi(x).

#include "blocks.h"

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

template <typename A>
struct Normal {
  Value<A> below;    // Phi
  Value<A> density;  // phi
};

// exp(x) for x <= 0; 0 below the smallest normal result.
SCRN_INLINE Value<float> exp_below_zero(Value<float> x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Value<float> shifted = fma(x, broadcast<float>(1.44269504f), broadcast<float>(kRound));
  const Value<float> n = shifted - kRound;
  Value<float> r = fma(n, broadcast<float>(-0.693359375f), x);
  r = fma(n, broadcast<float>(2.12194440e-4f), r);
  Value<float> p = broadcast<float>(1.9875691500e-4f);
  p = fma(p, r, broadcast<float>(1.3981999507e-3f));
  p = fma(p, r, broadcast<float>(8.3334519073e-3f));
  p = fma(p, r, broadcast<float>(4.1665795894e-2f));
  p = fma(p, r, broadcast<float>(1.6666665459e-1f));
  p = fma(p, r, broadcast<float>(5.0000001201e-1f));
  p = fma(p, r * r, r + 1.0f);
  const auto scale = (bits_of<float>(shifted) + 127) << 23;
  const Value<float> result = p * reinterpret_cast<Value<float>>(scale);
  return x < -87.0f ? Value<float>{} : result;
}

// erfc(z) = poly(t) exp(-z^2) with t = 1 / (1 + 0.3275911 z) for z >= 0, to 1.5e-7: Abramowitz and
// Stegun 7.1.26.
SCRN_INLINE Normal<float> normal(Value<float> x) {
  const Value<float> z = (x < 0.0f ? -x : x) * 0.70710678f;
  const Value<float> e = exp_below_zero(-z * z);
  const Value<float> t = 1.0f / fma(z, broadcast<float>(0.3275911f), broadcast<float>(1.0f));
  Value<float> p = broadcast<float>(1.061405429f);
  p = fma(p, t, broadcast<float>(-1.453152027f));
  p = fma(p, t, broadcast<float>(1.421413741f));
  p = fma(p, t, broadcast<float>(-0.284496736f));
  p = fma(p, t, broadcast<float>(0.254829592f));
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

template <typename A>
SCRN_INLINE Value<A> gelu(Value<A> x) {
  return x * normal(x).below;
}

template <typename A>
SCRN_INLINE Value<A> gelu_slope(Value<A> x) {
  const Normal<A> n = normal(x);
  return fma(x, n.density, n.below);
}

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
