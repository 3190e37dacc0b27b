#pragma once

// Element types of the CUDA kernels and their 16-byte accesses.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../macros.h"
#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

namespace scrn::cuda {

// The type in which coordinates, weights and sums of T features are held.
template <typename T>
using Accumulate = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Elements of T in one 16-byte access.
template <typename T>
inline constexpr int kVector = 16 / static_cast<int>(sizeof(T));

template <typename T>
SCRN_DEVICE Accumulate<T> widen(T value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(value);
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __bfloat162float(value);
  } else {
    return value;
  }
}

template <typename T, typename A>
SCRN_DEVICE T narrow(A value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(static_cast<float>(value));
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(static_cast<float>(value));
  } else {
    return static_cast<T>(value);
  }
}

// V elements of T as they lie in memory, 8 or 16 bytes in one access: half types stay packed in
// registers until they are used.
template <int N>
struct __attribute__((__may_alias__, __aligned__(4 * N))) Words {
  uint32_t word[N];
};
template <typename T, int V = kVector<T>>
using Packed = Words<V* static_cast<int>(sizeof(T)) / 4>;

template <typename T, int V = kVector<T>>
SCRN_DEVICE Packed<T, V> packed_zeros() {
  Packed<T, V> words;
#pragma unroll
  for (uint32_t& word : words.word) word = 0;
  return words;
}

// `source` and `target` are aligned to the access; `target` lies in global memory.
template <int V, typename T>
SCRN_DEVICE Packed<T, V> load_packed(const T* source) {
  return *reinterpret_cast<const Packed<T, V>*>(source);
}

template <int V, typename T>
SCRN_DEVICE void store_packed(T* target, const Packed<T, V>& words) {
#if defined(__CUDA_ARCH__)
  // A plain store is torn into 4-byte ones where indices have 64 bits (nvcc 13, sm_80 and sm_90).
  if constexpr (sizeof(words) == 16) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(__cvta_generic_to_global(target)), "r"(words.word[0]), "r"(words.word[1]),
                   "r"(words.word[2]), "r"(words.word[3])
                 : "memory");
    return;
  }
#endif
  *reinterpret_cast<Packed<T, V>*>(target) = words;
}

template <typename To, typename From>
SCRN_DEVICE To bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "a value is read as another type of its size");
  To to;
  memcpy(static_cast<void*>(&to), &from, sizeof(To));
  return to;
}

template <typename T, int V>
SCRN_DEVICE void unpack(const Packed<T, V>& words, Accumulate<T> (&out)[V]) {
#pragma unroll
  for (int e = 0; e < V; ++e) {
    if constexpr (std::is_same_v<T, float>) {
      out[e] = bits<float>(words.word[e]);
    } else if constexpr (std::is_same_v<T, double>) {
      const uint64_t high = words.word[2 * e + 1];
      out[e] = bits<double>(high << 32 | words.word[2 * e]);
    } else if (e % 2 == 0) {
      float2 pair;
      if constexpr (std::is_same_v<T, __half>) {
        pair = __half22float2(bits<__half2>(words.word[e / 2]));
      } else {
        pair = __bfloat1622float2(bits<__nv_bfloat162>(words.word[e / 2]));
      }
      out[e] = pair.x;
      out[e + 1] = pair.y;
    }
  }
}

template <typename T, int V>
SCRN_DEVICE Packed<T, V> pack(const Accumulate<T> (&in)[V]) {
  Packed<T, V> words;
#pragma unroll
  for (int e = 0; e < V; ++e) {
    if constexpr (std::is_same_v<T, float>) {
      words.word[e] = bits<uint32_t>(in[e]);
    } else if constexpr (std::is_same_v<T, double>) {
      const uint64_t value = bits<uint64_t>(in[e]);
      words.word[2 * e] = static_cast<uint32_t>(value);
      words.word[2 * e + 1] = static_cast<uint32_t>(value >> 32);
    } else if (e % 2 == 0) {
      if constexpr (std::is_same_v<T, __half>) {
        words.word[e / 2] = bits<uint32_t>(__floats2half2_rn(in[e], in[e + 1]));
      } else {
        words.word[e / 2] = bits<uint32_t>(__floats2bfloat162_rn(in[e], in[e + 1]));
      }
    }
  }
  return words;
}

}  // namespace scrn::cuda
