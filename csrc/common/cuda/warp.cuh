#pragma once

// Sums over the lanes of a warp.

#include "launch.cuh"

namespace scrn::cuda {

inline constexpr int kWarp = 32;

// The sum over kLanes neighbouring lanes, a power of two, in one order always; all lanes of the
// warp call, and all of the kLanes have it.
template <int kLanes, typename A>
SCRN_DEVICE A warp_sum(A value) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kFullWarp, value, distance);
  }
  return value;
}

}  // namespace scrn::cuda
