#pragma once

// What the dispatching code hands to the kernels of an instruction set: plain data, no code.

#include <cstddef>

#include "../params.h"

namespace scrn::convolution::cpu {

struct ForwardPlan {
  ForwardParams params;
  int64_t tiles_y = 0, tiles_x = 0;        // of an image
  int64_t run = 0;                         // tiles of a task, but perhaps of the last one
  int64_t groups = 0, group_panels = 0;    // of a run's panels, each a task; panels of a group
  int64_t kept_panels = 0;                 // whose sums are kept in memory at a time
  int64_t padded_channels = 0;             // a multiple of every register's width
  int64_t points_step = 0, sums_step = 0;  // elements from one point of a run to the next
};

// Of a thread: a run's points and sums, and a copy of one patch.
static inline size_t scratch_bytes(const ForwardPlan& plan) {
  return sizeof(float) * kPoints * (plan.points_step + plan.sums_step + plan.padded_channels);
}

struct Kernels {
  void (*forward)(const ForwardPlan&, int64_t begin, int64_t end);
  int32_t register_bytes;
};

const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();

}  // namespace scrn::convolution::cpu
