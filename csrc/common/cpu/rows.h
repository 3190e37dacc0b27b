#pragma once

// Rows of elements of any type, to and from the accumulate type.

#include "../params.h"
#include "vec.h"

namespace scrn::cpu::SCRN_CPU_ISA {
namespace {

template <typename S, typename A>
SCRN_INLINE void widen_row(const S* source, int count, A* target) {
  for (int i = 0; i < count; ++i) target[i] = static_cast<A>(widen(source[i]));
}
template <typename S>
SCRN_INLINE void widen_row(const S* source, int count, float* target) {
  int i = 0;
  for (; i + kLanes<float> <= count; i += kLanes<float>) store(target + i, load(source + i));
  for (; i < count; ++i) target[i] = widen(source[i]);
}
SCRN_INLINE void widen_row(const double* source, int count, float* target) {
  for (int i = 0; i < count; ++i) target[i] = static_cast<float>(source[i]);
}

template <typename A>
void load_row(DType dtype, const void* base, int64_t index, int count, A* target) {
  switch (dtype) {
    case DType::kFloat:
      return widen_row(static_cast<const float*>(base) + index, count, target);
    case DType::kDouble:
      return widen_row(static_cast<const double*>(base) + index, count, target);
    case DType::kHalf:
      return widen_row(static_cast<const Half*>(base) + index, count, target);
    case DType::kBFloat16:
      return widen_row(static_cast<const BFloat16*>(base) + index, count, target);
  }
}

template <typename T, typename A>
SCRN_INLINE void narrow_row(const A* source, int count, T* target) {
  for (int i = 0; i < count; ++i) narrow(source[i], target[i]);
}
template <typename T>
SCRN_INLINE void narrow_row(const float* source, int count, T* target) {
  int i = 0;
  for (; i + kLanes<float> <= count; i += kLanes<float>) store(target + i, load(source + i));
  for (; i < count; ++i) narrow(source[i], target[i]);
}
SCRN_INLINE void narrow_row(const float* source, int count, double* target) {
  for (int i = 0; i < count; ++i) target[i] = source[i];
}

template <typename A>
void store_row(DType dtype, const A* source, int count, void* base, int64_t index) {
  switch (dtype) {
    case DType::kFloat:
      return narrow_row(source, count, static_cast<float*>(base) + index);
    case DType::kDouble:
      return narrow_row(source, count, static_cast<double*>(base) + index);
    case DType::kHalf:
      return narrow_row(source, count, static_cast<Half*>(base) + index);
    case DType::kBFloat16:
      return narrow_row(source, count, static_cast<BFloat16*>(base) + index);
  }
}

}  // namespace
}  // namespace scrn::cpu::SCRN_CPU_ISA
