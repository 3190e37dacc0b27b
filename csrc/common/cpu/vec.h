#pragma once

// One register of the instruction set that the including translation unit is compiled for.
// Everything here and in the kernel headers lives in that set's own namespace and has internal
// linkage: a function that the linker could merge between translation units might carry
// AVX-512 code into the portable path. For the same reason no std:: template is used in them.

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define SCRN_INLINE static inline __attribute__((always_inline))

namespace scrn::cpu::SCRN_CPU_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX2__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

template <typename T, int kBytes>
struct Register {
  typedef T type __attribute__((vector_size(kBytes)));
};
template <typename T, int kBytes>
using RegisterOf = typename Register<T, kBytes>::type;

// Lanes of the accumulate type, and integers of the same width for masks and indices.
template <typename A>
struct Vec;
template <>
struct Vec<float> {
  using Value = RegisterOf<float, kRegisterBytes>;
  using Index = RegisterOf<int32_t, kRegisterBytes>;
  using Int = int32_t;
  static constexpr int kLanes = kRegisterBytes / 4;
};
template <>
struct Vec<double> {
  using Value = RegisterOf<double, kRegisterBytes>;
  using Index = RegisterOf<int64_t, kRegisterBytes>;
  using Int = int64_t;
  static constexpr int kLanes = kRegisterBytes / 8;
};
template <typename A>
using Value = typename Vec<A>::Value;
template <typename A>
using Index = typename Vec<A>::Index;
template <typename A>
constexpr int kLanes = Vec<A>::kLanes;

// Keeps the compiler from rewriting address arithmetic across this point: left alone, gcc spends
// several integer instructions on each operand of an unrolled sum.
template <typename T>
SCRN_INLINE T* pinned(T* p) {
  asm("" : "+r"(p));
  return p;
}

template <typename A>
SCRN_INLINE Value<A> broadcast(A x) {
  return x - Value<A>{};  // the one spelling that gcc turns into a single broadcast, -0 included
}
template <typename A>
SCRN_INLINE Index<A> broadcast_index(int64_t x) {
  return static_cast<typename Vec<A>::Int>(x) - Index<A>{};
}
template <typename A>
SCRN_INLINE Index<A> iota() {
  Index<A> result;
  for (int i = 0; i < kLanes<A>; ++i) result[i] = i;
  return result;
}
template <typename A>
SCRN_INLINE Value<A> to_value(Index<A> x) {
  return __builtin_convertvector(x, Value<A>);
}
template <typename A>
SCRN_INLINE Index<A> truncate(Value<A> x) {
  return __builtin_convertvector(x, Index<A>);
}
template <typename A>
SCRN_INLINE Index<A> bits_of(Value<A> x) {
  return reinterpret_cast<Index<A>>(x);
}

SCRN_INLINE Value<float> fma(Value<float> a, Value<float> b, Value<float> c) {
#if defined(__AVX512F__)
  return Value<float>(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
#elif defined(__AVX2__)
  return Value<float>(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
#else
  return a * b + c;
#endif
}
SCRN_INLINE Value<double> fma(Value<double> a, Value<double> b, Value<double> c) {
#if defined(__AVX512F__)
  return Value<double>(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(c)));
#elif defined(__AVX2__)
  return Value<double>(_mm256_fmadd_pd(__m256d(a), __m256d(b), __m256d(c)));
#else
  return a * b + c;
#endif
}

// b where either is NaN.
SCRN_INLINE Value<float> larger(Value<float> a, Value<float> b) {
#if defined(__AVX512F__)
  return Value<float>(_mm512_maskz_max_ps(0xffff, __m512(a), __m512(b)));
#elif defined(__AVX2__)
  return Value<float>(_mm256_max_ps(__m256(a), __m256(b)));
#else
  return a > b ? a : b;
#endif
}
SCRN_INLINE Value<float> smaller(Value<float> a, Value<float> b) {
#if defined(__AVX512F__)
  return Value<float>(_mm512_maskz_min_ps(0xffff, __m512(a), __m512(b)));
#elif defined(__AVX2__)
  return Value<float>(_mm256_min_ps(__m256(a), __m256(b)));
#else
  return a < b ? a : b;
#endif
}
SCRN_INLINE Value<double> larger(Value<double> a, Value<double> b) { return a > b ? a : b; }
SCRN_INLINE Value<double> smaller(Value<double> a, Value<double> b) { return a < b ? a : b; }
SCRN_INLINE Value<float> magnitude(Value<float> x) {
  return reinterpret_cast<Value<float>>(bits_of<float>(x) & 0x7fffffff);
}

// a / b to 1 ulp for a finite b whose reciprocal is a normal number: an AVX-512 division takes as
// long as thirty multiplications. Processors may differ in the first guess, 14 bits of the
// reciprocal, which the first step leaves no trace of.
SCRN_INLINE Value<float> divide(Value<float> a, Value<float> b) {
#if defined(__AVX512F__)
  Value<float> r = Value<float>(_mm512_maskz_rcp14_ps(0xffff, __m512(b)));
  r = fma(r, fma(-b, r, broadcast<float>(1.0f)), r);
  const Value<float> q = a * r;
  return fma(r, fma(-q, b, a), q);
#else
  return a / b;
#endif
}

// Scalar conversions, used for the last few elements of a row and by the portable path.
SCRN_INLINE float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
SCRN_INLINE uint32_t to_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
SCRN_INLINE float widen(float x) { return x; }
SCRN_INLINE double widen(double x) { return x; }
SCRN_INLINE float widen(BFloat16 x) { return from_bits(static_cast<uint32_t>(x.bits) << 16); }
SCRN_INLINE float widen(Half x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t rest = static_cast<uint32_t>(x.bits & 0x7fffu) << 13;
  if (rest >= 0x0f800000u) return from_bits(sign | rest | 0x70000000u);  // infinity or NaN
  // Multiplying by 2^112 moves the exponent's bias and normalises subnormal numbers.
  return from_bits(sign | to_bits(from_bits(rest) * from_bits(0x77800000u)));
}
SCRN_INLINE void narrow(float x, float& result) { result = x; }
SCRN_INLINE void narrow(double x, double& result) { result = x; }
SCRN_INLINE void narrow(double x, float& result) { result = static_cast<float>(x); }
SCRN_INLINE void narrow(float x, BFloat16& result) {
  const uint32_t bits = to_bits(x);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  result.bits = static_cast<uint16_t>(nan ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
SCRN_INLINE void narrow(float x, Half& result) {
  const uint32_t sign = to_bits(x) & 0x80000000u;
  const uint32_t rest = to_bits(x) ^ sign;
  uint32_t half;
  if (rest >= 0x47800000u) {  // at least 65536, or NaN
    half = rest > 0x7f800000u ? 0x7e00u : 0x7c00u;
  } else if (rest < 0x38800000u) {
    // Subnormal: adding 0.5 puts the last kept bit where float arithmetic rounds.
    half = to_bits(from_bits(rest) + 0.5f) - 0x3f000000u;
  } else {
    half = (rest - 0x38000000u + 0xfffu + ((rest >> 13) & 1u)) >> 13;
  }
  result.bits = static_cast<uint16_t>(half | (sign >> 16));
}
SCRN_INLINE void narrow(double x, BFloat16& result) { narrow(static_cast<float>(x), result); }
SCRN_INLINE void narrow(double x, Half& result) { narrow(static_cast<float>(x), result); }

template <typename V, typename T>
SCRN_INLINE V read_as(const T* p) {
  V value;
  memcpy(&value, p, sizeof value);
  return value;
}
template <typename V, typename T>
SCRN_INLINE void write_as(T* p, V value) {
  memcpy(p, &value, sizeof value);
}

// load: kLanes elements of any supported type, widened; store: the same, rounded to nearest.
SCRN_INLINE Value<float> load(const float* p) { return read_as<Value<float>>(p); }
SCRN_INLINE Value<double> load(const double* p) { return read_as<Value<double>>(p); }
SCRN_INLINE void store(float* p, Value<float> x) { write_as(p, x); }
SCRN_INLINE void store(double* p, Value<double> x) { write_as(p, x); }

SCRN_INLINE Value<float> load(const BFloat16* p) {
  const auto bits = read_as<RegisterOf<uint16_t, kRegisterBytes / 2>>(p);
  const auto wide = __builtin_convertvector(bits, RegisterOf<uint32_t, kRegisterBytes>);
  return reinterpret_cast<Value<float>>(wide << 16);
}
SCRN_INLINE void store(BFloat16* p, Value<float> x) {
  using Bits = RegisterOf<uint32_t, kRegisterBytes>;
  const Bits bits = reinterpret_cast<Bits>(x);
  const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Bits kept = x == x ? rounded : 0x7fc0u - Bits{};
  write_as(p, __builtin_convertvector(kept, RegisterOf<uint16_t, kRegisterBytes / 2>));
}

// The masked forms of AVX-512 intrinsics: gcc 12 warns about its own headers for the plain ones.
SCRN_INLINE Value<float> load(const Half* p) {
#if defined(__AVX512F__)
  return Value<float>(
      _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__AVX2__)
  return Value<float>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
  // As the scalar widen.
  using Bits = RegisterOf<uint32_t, kRegisterBytes>;
  const auto half = read_as<RegisterOf<uint16_t, kRegisterBytes / 2>>(p);
  const Bits bits = __builtin_convertvector(half, Bits);
  const Bits sign = (bits & 0x8000u) << 16, rest = (bits & 0x7fffu) << 13;
  const Bits scaled =
      reinterpret_cast<Bits>(reinterpret_cast<Value<float>>(rest) * from_bits(0x77800000u));
  return reinterpret_cast<Value<float>>(sign | (rest >= 0x0f800000u ? rest | 0x70000000u : scaled));
#endif
}
SCRN_INLINE void store(Half* p, Value<float> x) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtps_ph(0xffff, __m512(x), 0));
#elif defined(__AVX2__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(__m256(x), 0));
#else
  // As the scalar narrow.
  using Bits = RegisterOf<uint32_t, kRegisterBytes>;
  const Bits bits = reinterpret_cast<Bits>(x);
  const Bits sign = bits & 0x80000000u, rest = bits ^ sign;
  const Bits special = rest > 0x7f800000u ? 0x7e00u - Bits{} : 0x7c00u - Bits{};
  const Bits subnormal =
      reinterpret_cast<Bits>(reinterpret_cast<Value<float>>(rest) + 0.5f) - 0x3f000000u;
  const Bits normal = (rest - 0x38000000u + 0xfffu + ((rest >> 13) & 1u)) >> 13;
  const Bits half = rest >= 0x47800000u ? special : (rest < 0x38800000u ? subnormal : normal);
  write_as(p,
           __builtin_convertvector(half | (sign >> 16), RegisterOf<uint16_t, kRegisterBytes / 2>));
#endif
}

// store past the caches, to an address that is a multiple of what is written; fence_streams()
// makes it visible to other threads. Where the instruction set has none it is a store.
#if defined(__AVX512F__)
SCRN_INLINE void stream(float* p, Value<float> x) { _mm512_stream_ps(p, __m512(x)); }
SCRN_INLINE void stream(double* p, Value<double> x) { _mm512_stream_pd(p, __m512d(x)); }
#elif defined(__AVX2__)
SCRN_INLINE void stream(float* p, Value<float> x) { _mm256_stream_ps(p, __m256(x)); }
SCRN_INLINE void stream(double* p, Value<double> x) { _mm256_stream_pd(p, __m256d(x)); }
#endif
#if defined(__AVX2__)
template <typename T>
SCRN_INLINE void stream_half(T* p, Value<float> x) {
  T rounded[kLanes<float>];
  store(rounded, x);
#if defined(__AVX512F__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), read_as<__m256i>(rounded));
#else
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), read_as<__m128i>(rounded));
#endif
}
SCRN_INLINE void stream(Half* p, Value<float> x) { stream_half(p, x); }
SCRN_INLINE void stream(BFloat16* p, Value<float> x) { stream_half(p, x); }
#else
template <typename T, typename V>
SCRN_INLINE void stream(T* p, V x) {
  store(p, x);
}
#endif
template <typename T, typename V>
SCRN_INLINE void put(T* p, V x, bool streams) {
  if (streams) {
    stream(p, x);
  } else {
    store(p, x);
  }
}
SCRN_INLINE void fence_streams() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// Into the L2 cache, while something else is computed.
SCRN_INLINE void prefetch(const void* from, int64_t bytes) {
  const char* first = static_cast<const char*>(from);
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(first + i, 0, 2);
}

SCRN_INLINE Value<float> gather(const float* base, Index<float> index) {
#if defined(__AVX512F__)
  return Value<float>(
      _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, __m512i(index), base, 4));
#elif defined(__AVX2__)
  return Value<float>(_mm256_i32gather_ps(base, __m256i(index), 4));
#else
  Value<float> result;
  for (int i = 0; i < kLanes<float>; ++i) result[i] = base[index[i]];
  return result;
#endif
}
SCRN_INLINE Index<float> gather(const int32_t* base, Index<float> index) {
#if defined(__AVX512F__)
  return Index<float>(
      _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xffff, __m512i(index), base, 4));
#elif defined(__AVX2__)
  return Index<float>(_mm256_i32gather_epi32(base, __m256i(index), 4));
#else
  Index<float> result;
  for (int i = 0; i < kLanes<float>; ++i) result[i] = base[index[i]];
  return result;
#endif
}
SCRN_INLINE Value<double> gather(const double* base, Index<double> index) {
  Value<double> result;
  for (int i = 0; i < kLanes<double>; ++i) result[i] = base[index[i]];
  return result;
}
SCRN_INLINE Index<double> gather(const int32_t* base, Index<double> index) {
  Index<double> result;
  for (int i = 0; i < kLanes<double>; ++i) result[i] = base[index[i]];
  return result;
}

// Selecting from two registers is several times as fast as a gather, where there is an instruction
// for it.
template <typename A>
constexpr bool kSelects = false;
#if defined(__AVX512F__)
template <>
constexpr bool kSelects<float> = true;
// Whether every lane's index is one of start .. start + 2 * kLanes - 1.
SCRN_INLINE bool in_two_registers(Index<float> index, int64_t start) {
  const __m512i at = __m512i(index - static_cast<int32_t>(start));
  return _mm512_cmplt_epu32_mask(at, _mm512_set1_epi32(2 * kLanes<float>)) == 0xffff;
}
SCRN_INLINE Value<float> select(const float* base, Index<float> index) {
  const __m512 low = __m512(load(base)), high = __m512(load(base + kLanes<float>));
  return Value<float>(_mm512_permutex2var_ps(low, __m512i(index), high));
}
SCRN_INLINE Index<float> select(const int32_t* base, Index<float> index) {
  const __m512i low = _mm512_loadu_si512(base), high = _mm512_loadu_si512(base + kLanes<float>);
  return Index<float>(_mm512_permutex2var_epi32(low, __m512i(index), high));
}
#endif

SCRN_INLINE Index<float> load_index(const int32_t* p, float) { return read_as<Index<float>>(p); }
SCRN_INLINE Index<double> load_index(const int32_t* p, double) {
  return __builtin_convertvector(read_as<RegisterOf<int32_t, kRegisterBytes / 2>>(p),
                                 Index<double>);
}
SCRN_INLINE void store_index(int32_t* p, Index<float> x) { write_as(p, x); }
SCRN_INLINE void store_index(int32_t* p, Index<double> x) {
  write_as(p, __builtin_convertvector(x, RegisterOf<int32_t, kRegisterBytes / 2>));
}

}  // namespace
}  // namespace scrn::cpu::SCRN_CPU_ISA
