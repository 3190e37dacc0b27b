#pragma once

// The exponential of a register.

#include "vec.h"

namespace scrn::cpu::SCRN_CPU_ISA {
namespace {

// exp(x) for x <= 0; below the smallest normal result it is 0.
SCRN_INLINE Value<float> exp_negative(Value<float> x) {
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
  // n stands in the last bits of `shifted`, the others are shifted out. What comes of an n that
  // the exponent cannot hold is replaced below.
  const auto scale = (bits_of<float>(shifted) + 127) << 23;
  const Value<float> result = p * reinterpret_cast<Value<float>>(scale);
  return x < -87.0f ? Value<float>{} : result;
}
SCRN_INLINE Value<double> exp_negative(Value<double> x) {
  Value<double> result;
  for (int i = 0; i < kLanes<double>; ++i) result[i] = __builtin_exp(x[i]);
  return result;
}

}  // namespace
}  // namespace scrn::cpu::SCRN_CPU_ISA
