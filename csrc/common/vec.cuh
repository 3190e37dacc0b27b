#pragma once

// Element types of the CUDA kernels and their 16-byte accesses.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "macros.h"
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

// 16 bytes as they lie in memory: half types stay packed in registers until they are used.
struct __attribute__((__may_alias__, __aligned__(16))) Words {
  uint32_t word[4];
};

SCRN_DEVICE Words zero_words() { return {{0, 0, 0, 0}}; }

// `source` and `target` are aligned to 16 bytes.
template <typename T>
SCRN_DEVICE Words load_words(const T* source) {
  return *reinterpret_cast<const Words*>(source);
}

template <typename T>
SCRN_DEVICE void store_words(T* target, const Words& words) {
  *reinterpret_cast<Words*>(target) = words;
}

template <typename To, typename From>
SCRN_DEVICE To bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "a value is read as another type of its size");
  To to;
  memcpy(static_cast<void*>(&to), &from, sizeof(To));
  return to;
}

template <typename T>
SCRN_DEVICE void unpack(const Words& words, Accumulate<T> (&out)[kVector<T>]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      out[i] = bits<float>(words.word[i]);
    } else if constexpr (std::is_same_v<T, double>) {
      if (i < 2) {
        const uint64_t high = words.word[2 * (i & 1) + 1];
        out[i & 1] = bits<double>(high << 32 | words.word[2 * (i & 1)]);
      }
    } else if constexpr (std::is_same_v<T, __half>) {
      const float2 pair = __half22float2(bits<__half2>(words.word[i]));
      out[2 * i] = pair.x;
      out[2 * i + 1] = pair.y;
    } else {
      const float2 pair = __bfloat1622float2(bits<__nv_bfloat162>(words.word[i]));
      out[2 * i] = pair.x;
      out[2 * i + 1] = pair.y;
    }
  }
}

template <typename T>
SCRN_DEVICE Words pack(const Accumulate<T> (&in)[kVector<T>]) {
  Words words;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      words.word[i] = bits<uint32_t>(in[i]);
    } else if constexpr (std::is_same_v<T, double>) {
      const uint64_t value = bits<uint64_t>(in[i >> 1]);
      words.word[i] = static_cast<uint32_t>((i & 1) != 0 ? value >> 32 : value);
    } else if constexpr (std::is_same_v<T, __half>) {
      words.word[i] = bits<uint32_t>(__floats2half2_rn(in[2 * i], in[2 * i + 1]));
    } else {
      words.word[i] = bits<uint32_t>(__floats2bfloat162_rn(in[2 * i], in[2 * i + 1]));
    }
  }
  return words;
}

}  // namespace scrn::cuda
