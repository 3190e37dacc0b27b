#pragma once

// What the dispatching code hands to the kernels of an instruction set: plain data, no code.

#include <cstddef>
#include <cstdint>

#include "../params.h"

namespace scrn::srm::cpu {

// Pixels whose taps are tabulated together; the tables of one chunk stay in the L1 cache.
constexpr int kChunk = 64;
// Buffers may be read this many elements past their end: one AVX-512 register.
constexpr int kPadding = 16;
// Tables of an axis may be read this many elements before their first and past their last one:
// two AVX-512 registers, see look_up.
constexpr int kTablePadding = 2 * kPadding;
// Rows of a task of aggregate_backward.
constexpr int kAggregateRows = 16;

// Eq. 4's geometry along one dimension, tabulated from taps.h. The real type of the tables is
// the accumulate type.
//   upsample: by cell + 1, for the cells -1 .. out_size - 1 of the upsampled map: the first input
//     index, the second tap's share of the cell's left end, and that of its right end, whose
//     sign bit is set where the right end starts one input index further. Taps beyond the
//     input's border are folded into the last one.
//   direct: by output index: the input cell and the fraction that the index falls into.
struct AxisTable {
  bool upsample = false;
  int32_t in_size = 0, out_size = 0;
  double scale = 1;  // input pixels per pixel of offset; direct only
  const int32_t* first = nullptr;
  const void* left = nullptr;   // upsample: the left end's share; direct: the fraction
  const void* right = nullptr;  // upsample only
};

struct ForwardPlan {
  SampleForwardParams params;
  AxisTable y, x;
  int32_t tile_h = 0, tile_w = 0;  // of a task in NCHW; channels_last: one row is a task
  int32_t group_h = 0;             // rows of a tile whose results are written together
  bool streams = false;            // the output is written past the caches
};

// The pixels of a chunk ordered by pattern (see patterns.h), those of pattern p at start[p] to
// start[p + 1] - 1.
constexpr int kPatterns = 17;
struct PatternOrder {
  uint8_t pixel[kChunk];
  uint8_t start[kPatterns + 1];
};

// Of kChunk consecutive pixels of an image, rows joined. The arrays are filled row by row, a
// whole register at a time, hence the padding.
template <typename A>
struct BackwardTaps {
  A weight_y[3][kChunk + kPadding], weight_x[3][kChunk + kPadding];
  A slope_y[3][kChunk + kPadding], slope_x[3][kChunk + kPadding];
  int32_t y[kChunk + kPadding], x[kChunk + kPadding];
  PatternOrder weights;  // taps that have a weight
  PatternOrder slopes;   // taps that have a weight or a slope
};

struct BackwardPlan {
  SampleBackwardParams params;
  AxisTable y, x;
  int64_t slabs = 0;       // channel slabs per image, each a task
  int32_t slab_width = 0;  // channels of a slab but perhaps the last: 16 or 32
  // In the caller's workspace; A is the accumulate type.
  void* taps = nullptr;         // BackwardTaps<A> [B, chunks]
  void* grad_offset = nullptr;  // A [B, slabs, 2, out_h, out_w]: parts to be summed
  void* input = nullptr;        // A [B, slabs, in_h, in_w, slab_width]
  void* grad_input = nullptr;   // the same
};

// Each function runs tasks [begin, end).
struct Kernels {
  void (*aggregate_forward)(const AggregateForwardParams&, int64_t begin, int64_t end);
  void (*aggregate_backward)(const AggregateBackwardParams&, int64_t begin, int64_t end);
  void (*sample_forward)(const ForwardPlan&, int64_t begin, int64_t end);
  void (*backward_locate)(const BackwardPlan&, int64_t begin, int64_t end);
  void (*backward_scatter)(const BackwardPlan&, int64_t begin, int64_t end);
  void (*backward_reduce)(const BackwardPlan&, int64_t begin, int64_t end);
};

const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();

}  // namespace scrn::srm::cpu
