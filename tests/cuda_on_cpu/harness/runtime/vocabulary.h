#pragma once

// The CUDA words that kernels use, for g++. Where the hardware has a warp or a block do
// something together, the words below hand over to the runtime.

#include <cmath>
#include <cstring>
#include <type_traits>

#include "core.h"

#if !defined(__launch_bounds__)
#define __launch_bounds__(...)
#endif

#define SCRN_ON_CPU_WORD inline __attribute__((always_inline))

#define threadIdx (::cuda_on_cpu::thread_index())
#define blockIdx (::cuda_on_cpu::block_index())
#define blockDim (::cuda_on_cpu::block_extent())
#define gridDim (::cuda_on_cpu::grid_extent())
static constexpr int warpSize = 32;

// ---- barriers, fences ----
SCRN_ON_CPU_WORD void __syncthreads(cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
  cuda_on_cpu::sync_block(cuda_on_cpu::BlockVote::kNone, false, site);
}
SCRN_ON_CPU_WORD int __syncthreads_count(int predicate,
                                         cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
  return cuda_on_cpu::sync_block(cuda_on_cpu::BlockVote::kCount, predicate != 0, site);
}
SCRN_ON_CPU_WORD int __syncthreads_and(int predicate,
                                       cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
  return cuda_on_cpu::sync_block(cuda_on_cpu::BlockVote::kAnd, predicate != 0, site);
}
SCRN_ON_CPU_WORD int __syncthreads_or(int predicate,
                                      cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
  return cuda_on_cpu::sync_block(cuda_on_cpu::BlockVote::kOr, predicate != 0, site);
}
SCRN_ON_CPU_WORD void __threadfence() { cuda_on_cpu::fence(); }
SCRN_ON_CPU_WORD void __threadfence_block() { cuda_on_cpu::fence(); }

// ---- warps ----
namespace cuda_on_cpu {

SCRN_ON_CPU_WORD uint64_t collective(WarpOp op, unsigned mask, uint64_t value, Site site) {
  return warp_collective({op, mask, value, 0, 32, site});
}

template <typename T>
SCRN_ON_CPU_WORD T shuffle(WarpOp op, unsigned mask, T value, int argument, int width, Site site) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, static_cast<const void*>(&value), sizeof(T));
  bits = warp_collective({op, mask, bits, argument, width, site});
  std::memcpy(static_cast<void*>(&value), &bits, sizeof(T));
  return value;
}

}  // namespace cuda_on_cpu

SCRN_ON_CPU_WORD void __syncwarp(unsigned mask = 0xffffffffu,
                                 cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {
  cuda_on_cpu::collective(cuda_on_cpu::WarpOp::kSync, mask, 0, site);
}
SCRN_ON_CPU_WORD unsigned __activemask() { return cuda_on_cpu::active_mask(); }

#define SCRN_ON_CPU_SHUFFLE(name, op, argument_type)                                              \
  template <typename T>                                                                           \
  SCRN_ON_CPU_WORD T name(unsigned mask, T value, argument_type argument, int width = 32,         \
                          cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {                   \
    return cuda_on_cpu::shuffle(cuda_on_cpu::WarpOp::op, mask, value, static_cast<int>(argument), \
                                width, site);                                                     \
  }
SCRN_ON_CPU_SHUFFLE(__shfl_sync, kShuffle, int)
SCRN_ON_CPU_SHUFFLE(__shfl_up_sync, kShuffleUp, unsigned)
SCRN_ON_CPU_SHUFFLE(__shfl_down_sync, kShuffleDown, unsigned)
SCRN_ON_CPU_SHUFFLE(__shfl_xor_sync, kShuffleXor, int)
#undef SCRN_ON_CPU_SHUFFLE

#define SCRN_ON_CPU_COLLECTIVE(result, name, op, type, value)                                \
  SCRN_ON_CPU_WORD result name(unsigned mask, type value,                                    \
                               cuda_on_cpu::Site site = cuda_on_cpu::Site::here()) {         \
    return static_cast<result>(cuda_on_cpu::collective(cuda_on_cpu::WarpOp::op, mask,        \
                                                       static_cast<uint64_t>(value), site)); \
  }
SCRN_ON_CPU_COLLECTIVE(unsigned, __ballot_sync, kBallot, int, predicate)
SCRN_ON_CPU_COLLECTIVE(int, __all_sync, kAll, int, predicate)
SCRN_ON_CPU_COLLECTIVE(int, __any_sync, kAny, int, predicate)
SCRN_ON_CPU_COLLECTIVE(unsigned, __match_any_sync, kMatchAny, int, value)
SCRN_ON_CPU_COLLECTIVE(unsigned, __match_any_sync, kMatchAny, unsigned, value)
SCRN_ON_CPU_COLLECTIVE(unsigned, __match_any_sync, kMatchAny, long long, value)
SCRN_ON_CPU_COLLECTIVE(unsigned, __match_any_sync, kMatchAny, unsigned long long, value)
SCRN_ON_CPU_COLLECTIVE(unsigned, __reduce_add_sync, kReduceAdd, unsigned, value)
SCRN_ON_CPU_COLLECTIVE(int, __reduce_add_sync, kReduceAdd, int, value)
SCRN_ON_CPU_COLLECTIVE(unsigned, __reduce_min_sync, kReduceMin, unsigned, value)
SCRN_ON_CPU_COLLECTIVE(int, __reduce_min_sync, kReduceMinSigned, int, value)
SCRN_ON_CPU_COLLECTIVE(unsigned, __reduce_max_sync, kReduceMax, unsigned, value)
SCRN_ON_CPU_COLLECTIVE(int, __reduce_max_sync, kReduceMaxSigned, int, value)
SCRN_ON_CPU_COLLECTIVE(unsigned, __reduce_and_sync, kReduceAnd, unsigned, value)
SCRN_ON_CPU_COLLECTIVE(unsigned, __reduce_or_sync, kReduceOr, unsigned, value)
SCRN_ON_CPU_COLLECTIVE(unsigned, __reduce_xor_sync, kReduceXor, unsigned, value)
#undef SCRN_ON_CPU_COLLECTIVE

// ---- arithmetic that <cmath> and the CUDA headers lack on the host ----
template <typename T, typename U>
SCRN_ON_CPU_WORD constexpr std::common_type_t<T, U> min(T a, U b) {
  using C = std::common_type_t<T, U>;
  return static_cast<C>(b) < static_cast<C>(a) ? static_cast<C>(b) : static_cast<C>(a);
}
template <typename T, typename U>
SCRN_ON_CPU_WORD constexpr std::common_type_t<T, U> max(T a, U b) {
  using C = std::common_type_t<T, U>;
  return static_cast<C>(a) < static_cast<C>(b) ? static_cast<C>(b) : static_cast<C>(a);
}
SCRN_ON_CPU_WORD int __popc(unsigned value) { return __builtin_popcount(value); }
SCRN_ON_CPU_WORD int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
SCRN_ON_CPU_WORD int __ffs(int value) { return __builtin_ffs(value); }
SCRN_ON_CPU_WORD int __ffsll(long long value) { return __builtin_ffsll(value); }
SCRN_ON_CPU_WORD int __clz(int value) {
  return value == 0 ? 32 : __builtin_clz(static_cast<unsigned>(value));
}
SCRN_ON_CPU_WORD float __expf(float value) { return std::exp(value); }
SCRN_ON_CPU_WORD float __fdividef(float a, float b) { return a / b; }
SCRN_ON_CPU_WORD float __frcp_rn(float value) { return 1.0f / value; }
SCRN_ON_CPU_WORD float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
SCRN_ON_CPU_WORD float __fadd_rn(float a, float b) { return a + b; }
SCRN_ON_CPU_WORD float __fmul_rn(float a, float b) { return a * b; }
SCRN_ON_CPU_WORD double __dadd_rn(double a, double b) { return a + b; }
SCRN_ON_CPU_WORD double __dmul_rn(double a, double b) { return a * b; }
SCRN_ON_CPU_WORD unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}

// ---- memory ----
#define SCRN_ON_CPU_LOAD(name)             \
  template <typename T>                    \
  SCRN_ON_CPU_WORD T name(const T* from) { \
    return *from;                          \
  }
SCRN_ON_CPU_LOAD(__ldg)
SCRN_ON_CPU_LOAD(__ldcg)
SCRN_ON_CPU_LOAD(__ldca)
SCRN_ON_CPU_LOAD(__ldcs)
SCRN_ON_CPU_LOAD(__ldlu)
SCRN_ON_CPU_LOAD(__ldcv)
#undef SCRN_ON_CPU_LOAD
#define SCRN_ON_CPU_STORE(name)                       \
  template <typename T>                               \
  SCRN_ON_CPU_WORD void name(T* to, const T& value) { \
    *to = value;                                      \
  }
SCRN_ON_CPU_STORE(__stwb)
SCRN_ON_CPU_STORE(__stcg)
SCRN_ON_CPU_STORE(__stcs)
SCRN_ON_CPU_STORE(__stwt)
#undef SCRN_ON_CPU_STORE
