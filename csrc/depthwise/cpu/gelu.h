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

// erfc(z) = poly(t) exp(-z^2) with t = 1 / (1 + 0.3275911 z) for z >= 0, to 1.5e-7: Abramowitz and
// Stegun 7.1.26.
SCRN_INLINE Normal<float> normal(Value<float> x) {
  const Value<float> z = (x < 0.0f ? -x : x) * 0.70710678f;
  const Value<float> e = exp_negative(-z * z);
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
