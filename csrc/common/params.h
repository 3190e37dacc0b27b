#pragma once

// Element types as plain data: no torch, no CUDA headers.

#include <cstdint>

#include "macros.h"

namespace scrn {

enum class DType : int32_t { kFloat = 0, kDouble = 1, kHalf = 2, kBFloat16 = 3 };

// Internal linkage in all of these: see cpu/vec.h for why nothing may be merged between
// translation units.

// The type in which coordinates, weights and sums are held: double for double, else float.
static constexpr DType accumulate_type(DType feature) {
  return feature == DType::kDouble ? DType::kDouble : DType::kFloat;
}

// In bytes.
static constexpr int64_t size_of(DType type) {
  return type == DType::kDouble ? 8 : type == DType::kFloat ? 4 : 2;
}

// For n >= 0 and den > 0.
static constexpr int64_t ceil_div(int64_t n, int64_t den) { return (n + den - 1) / den; }

}  // namespace scrn
