#pragma once

// Between [channel][pixel] planes and [pixel][channel] scratch memory of the accumulate type.

#include "vec.h"

namespace scrn::cpu::SCRN_CPU_ISA {
namespace {

// Edge of the blocks that are transposed in registers; a row of one is a 32-byte load.
constexpr int kBlock = 8;

#if defined(__AVX2__)
using Float8 = RegisterOf<float, 32>;

SCRN_INLINE Float8 load8(const float* p) { return read_as<Float8>(p); }
SCRN_INLINE Float8 load8(const Half* p) {
  return Float8(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
SCRN_INLINE Float8 load8(const BFloat16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return Float8(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16)));
}
SCRN_INLINE void store8(float* p, Float8 x) { write_as(p, x); }
SCRN_INLINE void store8(Half* p, Float8 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(__m256(x), 0));
}
SCRN_INLINE void store8(BFloat16* p, Float8 x) {
  using Bits = RegisterOf<uint32_t, 32>;
  const Bits bits = reinterpret_cast<Bits>(x);
  const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Bits kept = x == x ? rounded : 0x7fc0u - Bits{};
  write_as(p, __builtin_convertvector(kept, RegisterOf<uint16_t, 16>));
}

SCRN_INLINE void transpose8(Float8 (&v)[8]) {
  __m256 pair[8], quad[8];
  for (int i = 0; i < 8; i += 2) {
    pair[i] = _mm256_unpacklo_ps(__m256(v[i]), __m256(v[i + 1]));
    pair[i + 1] = _mm256_unpackhi_ps(__m256(v[i]), __m256(v[i + 1]));
  }
  for (int i = 0; i < 8; i += 4) {
    quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
    quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
    quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
    quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = Float8(_mm256_permute2f128_ps(quad[i], quad[i + 4], 0x20));
    v[i + 4] = Float8(_mm256_permute2f128_ps(quad[i], quad[i + 4], 0x31));
  }
}

template <typename S>
SCRN_INLINE void read_block(const S* planes, int64_t plane, int channels, float* target,
                            int64_t stride) {
  Float8 v[8];
  for (int c = 0; c < 8; ++c) v[c] = c < channels ? load8(planes + c * plane) : Float8{};
  transpose8(v);
  for (int i = 0; i < 8; ++i) store8(target + i * stride, v[i]);
}

SCRN_INLINE void write_block(const float* source, int64_t stride, float* planes, int64_t plane) {
  Float8 v[8];
  for (int i = 0; i < 8; ++i) v[i] = load8(source + i * stride);
  transpose8(v);
  for (int c = 0; c < 8; ++c) store8(planes + c * plane, v[c]);
}
#endif

template <typename S, typename A>
SCRN_INLINE void read_block(const S* planes, int64_t plane, int channels, A* target,
                            int64_t stride) {
  for (int c = 0; c < kBlock; ++c) {
    for (int i = 0; i < kBlock; ++i) {
      target[i * stride + c] = c < channels ? widen(planes[c * plane + i]) : A(0);
    }
  }
}

template <typename A>
SCRN_INLINE void write_block(const A* source, int64_t stride, A* planes, int64_t plane) {
  for (int c = 0; c < kBlock; ++c) {
    for (int i = 0; i < kBlock; ++i) planes[c * plane + i] = source[i * stride + c];
  }
}

// `channels` <= kSlab planes of `pixels` contiguous elements to target[pixel * kSlab + channel];
// channels up to kSlab become 0.
template <int kSlab, typename S, typename A>
void planes_to_pixels(const S* planes, int64_t plane, int channels, int64_t pixels, A* target) {
  constexpr int64_t stride = kSlab;
  for (int c = 0; c < kSlab; c += kBlock) {
    const int left = channels - c;
    const S* from = planes + c * plane;
    A* to = target + c;
    int64_t i = 0;
    if (left >= kBlock) {
      for (; i + kBlock <= pixels; i += kBlock) {
        read_block(from + i, plane, kBlock, to + i * stride, stride);
      }
    } else {
      for (; i + kBlock <= pixels; i += kBlock) {
        read_block(from + i, plane, left, to + i * stride, stride);
      }
    }
    for (; i < pixels; ++i) {
      for (int k = 0; k < kBlock; ++k) {
        to[i * stride + k] = k < left ? widen(from[k * plane + i]) : A(0);
      }
    }
  }
}

// The way back within scratch memory; `channels` is a multiple of kBlock.
template <typename A>
void pixels_to_planes(const A* source, int64_t stride, int channels, int pixels, A* planes,
                      int64_t plane) {
  for (int c = 0; c < channels; c += kBlock) {
    int i = 0;
    for (; i + kBlock <= pixels; i += kBlock) {
      write_block(source + i * stride + c, stride, planes + c * plane + i, plane);
    }
    for (; i < pixels; ++i) {
      for (int k = 0; k < kBlock; ++k) planes[(c + k) * plane + i] = source[i * stride + c + k];
    }
  }
}

}  // namespace
}  // namespace scrn::cpu::SCRN_CPU_ISA
