#pragma once

// Which channels of a channels_last pixel a thread holds, and how they come and go.

#include "atomics.cuh"
#include "launch.cuh"

namespace scrn::cuda {

// `holders` neighbouring threads share the V * holders channels of a slab. Aligned: V consecutive
// ones each, in one access. Otherwise neighbouring threads hold neighbouring channels, and each
// its V of them `holders` apart.
template <typename T, int V, typename Index>
struct HeldChannels {
  bool aligned;
  Index first, step, end;

  SCRN_DEVICE HeldChannels make(bool aligned, int64_t slab, int holders, int holder,
                                int64_t channels) {
    const Index start = static_cast<Index>(slab * holders) * V;
    return {aligned, start + holder * (aligned ? V : 1), aligned ? 1 : holders,
            static_cast<Index>(channels)};
  }
};

// `pixel` points at channel 0. Channels past the end read as zero.
template <typename T, int V, typename Index>
SCRN_DEVICE Packed<T, V> load_held(const T* pixel, const HeldChannels<T, V, Index>& held) {
  if (held.aligned) {
    return held.first < held.end ? load_packed<V>(pixel + held.first) : packed_zeros<T, V>();
  }
  T value[V];
#pragma unroll
  for (int e = 0; e < V; ++e) {
    const Index c = held.first + e * held.step;
    value[e] = c < held.end ? pixel[c] : narrow<T>(0.0f);
  }
  return bits<Packed<T, V>>(value);
}

template <typename T, int V, typename Index>
SCRN_DEVICE void store_held(T* pixel, const HeldChannels<T, V, Index>& held,
                            const Accumulate<T> (&value)[V]) {
  if (held.aligned) {
    if (held.first < held.end) store_packed<V>(pixel + held.first, pack<T>(value));
    return;
  }
#pragma unroll
  for (int e = 0; e < V; ++e) {
    const Index c = held.first + e * held.step;
    if (c < held.end) pixel[c] = narrow<T>(value[e]);
  }
}

// Channels past the end must be zero: what is zero is not added.
template <typename T, int V, typename Index>
SCRN_DEVICE void add_held(Accumulate<T>* pixel, const HeldChannels<T, V, Index>& held,
                          const Accumulate<T> (&value)[V]) {
  using A = Accumulate<T>;
  if (held.aligned) {
    bool any = false;
#pragma unroll
    for (int e = 0; e < V; ++e) any = any || value[e] != A(0);
    if (any) add_vector(pixel + held.first, value);
    return;
  }
#pragma unroll
  for (int e = 0; e < V; ++e) {
    if (value[e] != A(0)) atomicAdd(pixel + (held.first + e * held.step), value[e]);
  }
}

}  // namespace scrn::cuda
