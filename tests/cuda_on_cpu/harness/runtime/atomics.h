#pragma once

// Atomic read-modify-write. Threads are fibers of one operating-system thread, so only
// ThreadSanitizer has to be told that the access is atomic; relaxed, as CUDA's are.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>

#include "core.h"

namespace cuda_on_cpu {

template <size_t kBytes>
struct WordOf;
template <>
struct WordOf<2> {
  typedef uint16_t type __attribute__((__may_alias__));
};
template <>
struct WordOf<4> {
  typedef uint32_t type __attribute__((__may_alias__));
};
template <>
struct WordOf<8> {
  typedef uint64_t type __attribute__((__may_alias__));
};

template <typename To, typename From>
To bit_copy(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  std::memcpy(static_cast<void*>(&to), static_cast<const void*>(&from), sizeof(To));
  return to;
}

template <typename T, typename Update>
inline T atomic_update(T* address, Update update) {
  using Word = typename WordOf<sizeof(T)>::type;
  count_atomic();
  if (reinterpret_cast<uintptr_t>(address) % sizeof(T) != 0) {
    kernel_fault("atomic access to %p, which is not aligned to %zu bytes",
                 static_cast<void*>(address), sizeof(T));
  }
  auto* word = reinterpret_cast<Word*>(address);
#if defined(__SANITIZE_THREAD__)
  Word seen = __atomic_load_n(word, __ATOMIC_RELAXED);
  Word next;
  do {
    next = bit_copy<Word>(update(bit_copy<T>(seen)));
  } while (
      !__atomic_compare_exchange_n(word, &seen, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
#else
  const Word seen = *word;
  *word = bit_copy<Word>(update(bit_copy<T>(seen)));
#endif
  return bit_copy<T>(seen);
}

}  // namespace cuda_on_cpu

#define SCRN_ON_CPU_ATOMIC(name, type, expression)                               \
  inline type name(type* address, type value) {                                  \
    return ::cuda_on_cpu::atomic_update(                                         \
        address, [&]([[maybe_unused]] type old) -> type { return expression; }); \
  }
#define SCRN_ON_CPU_INTEGER_ATOMICS(type)                                                          \
  SCRN_ON_CPU_ATOMIC(atomicAdd, type, old + value)                                                 \
  SCRN_ON_CPU_ATOMIC(atomicMin, type, old < value ? old : value)                                   \
  SCRN_ON_CPU_ATOMIC(atomicMax, type, old > value ? old : value)                                   \
  SCRN_ON_CPU_ATOMIC(atomicAnd, type, old& value)                                                  \
  SCRN_ON_CPU_ATOMIC(atomicOr, type, old | value)                                                  \
  SCRN_ON_CPU_ATOMIC(atomicXor, type, old ^ value)                                                 \
  SCRN_ON_CPU_ATOMIC(atomicExch, type, value)                                                      \
  inline type atomicCAS(type* address, type compare, type value) {                                 \
    return ::cuda_on_cpu::atomic_update(                                                           \
        address, [&]([[maybe_unused]] type old) -> type { return old == compare ? value : old; }); \
  }
SCRN_ON_CPU_INTEGER_ATOMICS(int)
SCRN_ON_CPU_INTEGER_ATOMICS(unsigned)
SCRN_ON_CPU_INTEGER_ATOMICS(unsigned long long)
SCRN_ON_CPU_ATOMIC(atomicSub, int, old - value)
SCRN_ON_CPU_ATOMIC(atomicSub, unsigned, old - value)
SCRN_ON_CPU_ATOMIC(atomicAdd, float, old + value)
SCRN_ON_CPU_ATOMIC(atomicAdd, double, old + value)
SCRN_ON_CPU_ATOMIC(atomicExch, float, value)
SCRN_ON_CPU_ATOMIC(atomicAdd, __half, __float2half_rn(__half2float(old) + __half2float(value)))
SCRN_ON_CPU_ATOMIC(atomicAdd, __nv_bfloat16,
                   __float2bfloat16_rn(__bfloat162float(old) + __bfloat162float(value)))
#undef SCRN_ON_CPU_INTEGER_ATOMICS
#undef SCRN_ON_CPU_ATOMIC

// Each element is atomic by itself, on a GPU too.
inline __half2 atomicAdd(__half2* address, __half2 value) {
  auto* half = reinterpret_cast<__half*>(address);
  const __half low = atomicAdd(half, __low2half(value));
  return __halves2half2(low, atomicAdd(half + 1, __high2half(value)));
}
inline __nv_bfloat162 atomicAdd(__nv_bfloat162* address, __nv_bfloat162 value) {
  auto* half = reinterpret_cast<__nv_bfloat16*>(address);
  const __nv_bfloat16 low = atomicAdd(half, __low2bfloat16(value));
  return __halves2bfloat162(low, atomicAdd(half + 1, __high2bfloat16(value)));
}
inline float2 atomicAdd(float2* address, float2 value) {
  return {atomicAdd(&address->x, value.x), atomicAdd(&address->y, value.y)};
}
inline float4 atomicAdd(float4* address, float4 value) {
  return {atomicAdd(&address->x, value.x), atomicAdd(&address->y, value.y),
          atomicAdd(&address->z, value.z), atomicAdd(&address->w, value.w)};
}
