#pragma once

// Between maps in memory and rows of scratch memory, which hold a register of channels for every
// column.

#include "../../common/cpu/transpose.h"
#include "blocks.h"

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

// A task's part of a map: columns x0 .. x0 + width - 1 of `channels` channels of an image.
struct Tile {
  int64_t b = 0, x0 = 0, c0 = 0;
  int width = 0, channels = 0;
  int registers = 0;  // that hold the channels
};

template <typename S>
SCRN_INLINE S* pixel(const UnitShape& s, S* map, int64_t b, int64_t c, int64_t y, int64_t x) {
  return s.channels_last ? map + ((b * s.height + y) * s.width + x) * s.channels + c
                         : map + ((b * s.channels + c) * s.height + y) * s.width + x;
}

// `channels` <= kLanes planes of `count` contiguous elements to a register for each element;
// channels up to kLanes become 0.
template <typename S, typename A>
void planes_to_registers(const S* planes, int64_t plane, int channels, int64_t count, A* target) {
  if constexpr (kLanes<A> >= kBlock) {
    planes_to_pixels<kLanes<A>>(planes, plane, channels, count, target);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      for (int c = 0; c < kLanes<A>; ++c) {
        target[i * kLanes<A> + c] = c < channels ? widen(planes[c * plane + i]) : A(0);
      }
    }
  }
}

#if defined(__AVX2__)
template <typename S>
SCRN_INLINE void store_planes(const float* source, int channels, S* planes, int64_t plane) {
  Float8 v[8];
  for (int i = 0; i < 8; ++i) v[i] = load8(source + i * kLanes<float>);
  transpose8(v);
  for (int c = 0; c < 8 && c < channels; ++c) store8(planes + c * plane, v[c]);
}
#endif
template <typename S, typename A>
SCRN_INLINE void store_planes(const A* source, int channels, S* planes, int64_t plane) {
  for (int c = 0; c < kBlock && c < channels; ++c) {
    for (int i = 0; i < kBlock; ++i) narrow(source[i * kLanes<A> + c], planes[c * plane + i]);
  }
}

// The way back.
template <typename S, typename A>
void registers_to_planes(const A* source, int channels, int64_t count, S* planes, int64_t plane) {
  const int64_t whole = kLanes<A> < kBlock ? 0 : count / kBlock * kBlock;
  for (int c = 0; c < channels; c += kBlock) {
    for (int64_t i = 0; i < whole; i += kBlock) {
      store_planes(source + i * kLanes<A> + c, channels - c, planes + c * plane + i, plane);
    }
  }
  for (int64_t i = whole; i < count; ++i) {
    for (int c = 0; c < channels; ++c) narrow(source[i * kLanes<A> + c], planes[c * plane + i]);
  }
}

// Row y of a map into the ring, zero outside the image; every column of the ring's row.
template <typename S, typename A>
void read_row(const UnitShape& s, const S* map, const Tile& tile, int64_t y, const Ring<A>& ring) {
  if (y < 0 || y >= s.height) return ring.clear(y);
  const int from = ring.first, to = ring.first + ring.columns;
  const int left = tile.x0 + from < 0 ? static_cast<int>(-tile.x0) : from;
  const int right = tile.x0 + to > s.width ? static_cast<int>(s.width - tile.x0) : to;
  clear_outside(ring, y, from, to, tile.x0, s.width);
  if (s.channels_last && tile.channels == ring.subs * kLanes<A>) {
    const S* source = pixel(s, map, tile.b, tile.c0, y, tile.x0 + left);
    A* target = ring.at(y, 0, left);
    for (int x = left; x < right; ++x) {
      for (int sub = 0; sub < ring.subs; ++sub) {
        store(target + sub * ring.part(), load(source + sub * kLanes<A>));
      }
      source += s.channels;
      target += kLanes<A>;
    }
    return;
  }
  for (int sub = 0; sub < ring.subs; ++sub) {
    const int first = sub * kLanes<A>;
    const int channels = tile.channels - first < kLanes<A> ? tile.channels - first : kLanes<A>;
    const S* source = pixel(s, map, tile.b, tile.c0 + first, y, tile.x0 + left);
    A* target = ring.at(y, sub, left);
    if (!s.channels_last) {
      const int64_t plane = static_cast<int64_t>(s.height) * s.width;
      planes_to_registers(source, plane, channels, right - left, target);
      continue;
    }
    for (int x = left; x < right; ++x) {
      for (int c = 0; c < kLanes<A>; ++c) target[c] = c < channels ? widen(source[c]) : A(0);
      source += s.channels;
      target += kLanes<A>;
    }
  }
}

// Columns 0 .. width - 1 of the tile of the ring's row `from` to row y of a map.
template <typename S, typename A>
void write_row(const UnitShape& s, const Ring<A>& ring, int64_t from, S* map, const Tile& tile,
               int64_t y, bool streams) {
  if (s.channels_last && tile.channels == ring.subs * kLanes<A>) {
    const A* source = ring.at(from, 0, 0);
    S* target = pixel(s, map, tile.b, tile.c0, y, tile.x0);
    for (int x = 0; x < tile.width; ++x) {
      for (int sub = 0; sub < ring.subs; ++sub) {
        put(target + sub * kLanes<A>, load(source + sub * ring.part()), streams);
      }
      source += kLanes<A>;
      target += s.channels;
    }
    return;
  }
  for (int sub = 0; sub < ring.subs; ++sub) {
    const int first = sub * kLanes<A>;
    const int channels = tile.channels - first < kLanes<A> ? tile.channels - first : kLanes<A>;
    const A* source = ring.at(from, sub, 0);
    S* target = pixel(s, map, tile.b, tile.c0 + first, y, tile.x0);
    if (!s.channels_last) {
      const int64_t plane = static_cast<int64_t>(s.height) * s.width;
      registers_to_planes(source, channels, tile.width, target, plane);
      continue;
    }
    for (int x = 0; x < tile.width; ++x) {
      for (int c = 0; c < channels; ++c) narrow(source[c], target[c]);
      source += kLanes<A>;
      target += s.channels;
    }
  }
}

template <typename A>
void read_weights(const UnitShape& s, const void* weights, int64_t c0, int channels, A* target) {
  const int64_t taps = taps_of(s), first = c0 * taps;
  switch (s.weight_dtype) {
    case DType::kFloat:
      return planes_to_registers(static_cast<const float*>(weights) + first, taps, channels, taps,
                                 target);
    case DType::kDouble:
      if constexpr (sizeof(A) == 8) {
        planes_to_registers(static_cast<const double*>(weights) + first, taps, channels, taps,
                            target);
      }
      return;
    case DType::kHalf:
      return planes_to_registers(static_cast<const Half*>(weights) + first, taps, channels, taps,
                                 target);
    case DType::kBFloat16:
      return planes_to_registers(static_cast<const BFloat16*>(weights) + first, taps, channels,
                                 taps, target);
  }
}

// Those of all the tile's registers of channels, one after the other.
template <typename A>
void read_tile_weights(const UnitShape& s, const void* weights, const Tile& tile, A* target) {
  for (int first = 0; first < tile.channels; first += kLanes<A>) {
    read_weights(s, weights, tile.c0 + first, tile.channels - first, target + first * taps_of(s));
  }
}

// Where in a unit's weights its convolutions are, and where their biases: in registers.
struct Layout {
  int edge = 0;  // of the first convolution, which starts at 0
  int bias = 0;  // its bias
  int length[kStrips] = {}, radius[kStrips] = {}, longest = 0;  // kMultiScale
  int row[kStrips] = {}, row_bias[kStrips] = {}, column[kStrips] = {}, column_bias[kStrips] = {};
  int dilated = 0, dilated_bias = 0, reach = 0;  // kLargeKernel; reach: the dilated radius

  explicit Layout(const UnitShape& s) {
    edge = s.unit == Unit::kGelu ? s.square : kLocal;
    bias = edge * edge;
    int next = bias + 1;
    if (s.unit == Unit::kLargeKernel) {
      dilated = next;
      dilated_bias = next + kDilated * kDilated;
      reach = kDilated / 2 * s.dilation;
    }
    if (s.unit != Unit::kMultiScale) return;
    for (int i = 0; i < kStrips; ++i) {
      length[i] = s.strips[i];
      radius[i] = s.strips[i] / 2;
      longest = radius[i] > longest ? radius[i] : longest;
      row[i] = next;
      row_bias[i] = next + length[i];
      column[i] = row_bias[i] + 1;
      column_bias[i] = column[i] + length[i];
      next = column_bias[i] + 1;
    }
  }
};

// Hands out aligned pieces of a thread's scratch memory; first, with no memory, it only adds up.
class Scratch {
 public:
  explicit Scratch(void* memory) : memory_(static_cast<char*>(memory)) {}
  template <typename A>
  A* take(int64_t elements) {
    char* begin = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (elements * sizeof(A) + 63) / 64 * 64;
    return reinterpret_cast<A*>(begin);
  }
  template <typename A>
  void take(Ring<A>& ring) {
    ring.data = take<A>(ring.elements());
  }
  size_t used() const { return used_; }

 private:
  char* memory_;
  size_t used_ = 0;
};

// Calls take(scratch), which takes a task's memory, twice: first only to count the bytes.
template <typename F>
void place(const F& take) {
  Scratch counted(nullptr);
  take(counted);
  Scratch scratch(thread_scratch(counted.used()));
  take(scratch);
}

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
