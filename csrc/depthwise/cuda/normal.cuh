#pragma once

// The exact GELU, x * Phi(x), and its derivative, Phi(x) + x * phi(x), as in ../cpu/gelu.h.

#include "tiles.cuh"

namespace scrn::depthwise::cuda {

// Phi(x) = 1/2 + x P(x^2) / Q(x^2) for |x| <= 5.4, fitted to 6e-9. Outside, where x^2 is taken to
// end, it goes on as a straight line, which leaves [0, 1] at once: there it is 0 or 1. Nor may
// rounding take it out of that: what is negative must not become positive.
SCRN_DEVICE float gelu(float x) {
  constexpr float kEnd = 5.4f;
  const float u = fminf(x * x, kEnd * kEnd);
  float p = 2.3386924185176684e-08f;
  float q = 1.2165953005155382e-06f;
  p = p * u + 6.3600028817682105e-06f;
  q = q * u + 7.239938816727329e-05f;
  p = p * u + 0.00016431919717282563f;
  q = q * u + 0.001858967243930945f;
  p = p * u + 0.004650835801345118f;
  q = q * u + 0.028378546353127258f;
  p = p * u + 0.033371983630394834f;
  q = q * u + 0.2503172468346181f;
  p = p * u + 0.3989422453759096f;
  q = q * u + 1.0f;
  const float below = x * __fdividef(p, q) + 0.5f;
  return x * fminf(fmaxf(below, 0.0f), 1.0f);  // NaN stays
}

// erfc(z) = t P(t) exp(-z^2) with t = 1 / (1 + z / 2), for z >= 0: a fit to 6e-9 of Phi.
SCRN_DEVICE float gelu_slope(float x) {
  const float z = (x < 0.0f ? -x : x) * 0.70710678f;
  const float e = std::exp(-z * z);
  const float t = 1.0f / (z * 0.5f + 1.0f);
  float p = 0.058793200791565026f;
  p = p * t + -0.2181971885257322f;
  p = p * t + 0.1220970553056574f;
  p = p * t + 0.30776626446486177f;
  p = p * t + 0.13079329014116764f;
  p = p * t + 0.32171436185850044f;
  p = p * t + 0.2770330273520675f;
  const float tail = 0.5f * p * t * e;
  return x * (e * 0.39894228f) + (x < 0.0f ? tail : 1.0f - tail);
}

SCRN_DEVICE double normal_below(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
SCRN_DEVICE double gelu(double x) { return x * normal_below(x); }
SCRN_DEVICE double gelu_slope(double x) {
  return x * (0.39894228040143267794 * std::exp(-0.5 * x * x)) + normal_below(x);
}

}  // namespace scrn::depthwise::cuda
