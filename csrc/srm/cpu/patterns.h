#pragma once

// Dispatch on a pixel's pattern: how many rows and columns of taps it has.

#include "isa.h"
#include "plan.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

// Orders pixels by pattern: a branch that neighbours take differently costs more than the sums
// behind it.
SCRN_INLINE void order_by_pattern(const int32_t* pattern, int count, PatternOrder& order) {
  int size[kPatterns + 1] = {};
  for (int i = 0; i < count; ++i) ++size[pattern[i] + 1];
  for (int p = 0; p < kPatterns; ++p) {
    order.start[p] = static_cast<uint8_t>(size[p]);
    size[p + 1] += size[p];
  }
  order.start[kPatterns] = static_cast<uint8_t>(count);
  for (int i = 0; i < count; ++i) {
    order.pixel[size[pattern[i]]++] = static_cast<uint8_t>(i);
  }
}

// Calls body(rows, columns), both compile-time constants, for the pattern of a pixel that has
// taps.
template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};
template <typename Body>
SCRN_INLINE void for_pattern(int pattern, const Body& body) {
  switch (pattern) {
    case 1 * 4 + 1:
      return body(Constant<1>(), Constant<1>());
    case 1 * 4 + 2:
      return body(Constant<1>(), Constant<2>());
    case 1 * 4 + 3:
      return body(Constant<1>(), Constant<3>());
    case 2 * 4 + 1:
      return body(Constant<2>(), Constant<1>());
    case 2 * 4 + 2:
      return body(Constant<2>(), Constant<2>());
    case 2 * 4 + 3:
      return body(Constant<2>(), Constant<3>());
    case 3 * 4 + 1:
      return body(Constant<3>(), Constant<1>());
    case 3 * 4 + 2:
      return body(Constant<3>(), Constant<2>());
    case 3 * 4 + 3:
      return body(Constant<3>(), Constant<3>());
  }
}

template <typename Body>
SCRN_INLINE void for_each_pattern(const Body& body) {
  body(Constant<1>(), Constant<1>());
  body(Constant<1>(), Constant<2>());
  body(Constant<1>(), Constant<3>());
  body(Constant<2>(), Constant<1>());
  body(Constant<2>(), Constant<2>());
  body(Constant<2>(), Constant<3>());
  body(Constant<3>(), Constant<1>());
  body(Constant<3>(), Constant<2>());
  body(Constant<3>(), Constant<3>());
}

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
