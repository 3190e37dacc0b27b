#pragma once

// Launch grids, index widths, and small arithmetic that every family's kernels use.

#include <algorithm>
#include <cstdint>

#include "../macros.h"
#include "../params.h"
#include "vec.cuh"

namespace scrn::cuda {

// What tests force at sizes that would not call for it.
struct LaunchOptions {
  bool index64 = false;
  int64_t max_blocks = INT32_MAX;
  int64_t max_shared = INT64_MAX;  // bytes of a block, of those that the device has
};

inline constexpr int kThreads = 128;
inline constexpr unsigned kFullWarp = 0xffffffffu;

// One dimension of at most 2^31 - 1 blocks: kernels stride over their work by the grid, or the rest
// takes another launch.
inline dim3 grid_of(int64_t blocks, const LaunchOptions& options) {
  const int64_t limit = std::min<int64_t>(options.max_blocks, INT32_MAX);
  return dim3(static_cast<unsigned>(std::min(blocks, limit)));
}

// More blocks than the grid may have are no use.
inline int64_t enough(int64_t blocks, const LaunchOptions& options) {
  return std::min(blocks, options.max_blocks);
}

// Indices run within one image; its first element is found in 64 bits always. The margin covers
// what a tile or a channel slab may reach past the end before it is cut off.
inline bool fits_index32(int64_t elements) { return elements <= INT64_C(0x7fff0000); }

inline bool aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

SCRN_HOST_DEVICE void split(int64_t n, int64_t den, int64_t& quotient, int64_t& remainder) {
  if (((n | den) >> 32) == 0) {
    const uint32_t q = static_cast<uint32_t>(n) / static_cast<uint32_t>(den);
    quotient = q;
    remainder = static_cast<uint32_t>(n) - q * static_cast<uint32_t>(den);
  } else {
    quotient = n / den;
    remainder = n - quotient * den;
  }
}

SCRN_DEVICE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
SCRN_DEVICE int at_most(int value, int limit) { return value < limit ? value : limit; }

}  // namespace scrn::cuda
