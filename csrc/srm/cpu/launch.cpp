// Cuts the operators into tasks.

#include <cstring>

#include "../../common/cpu/isa.h"
#include "../cpu.h"
#include "plan.h"
#include "tables.h"

namespace scrn::srm::cpu {
namespace {

using scrn::cpu::Arena;
using scrn::cpu::run;

const Kernels& current_kernels() { return SCRN_KERNELS_IN_USE(kernels); }

// Tiles of the NCHW forward: wide ones keep runs of memory long, low ones keep the tables and
// the window in the L2 cache.
constexpr int32_t kTileHeight = 8, kTileWidth = 256, kGroupHeight = 4;

// An output of this many bytes leaves the caches before anyone reads it: to fetch its lines first
// would only cost. Measured with a reader behind it: 4 MiB are better kept, 16 MiB are not.
constexpr int64_t kStreamedBytes = 8 * 1024 * 1024;

// Only whole, aligned cache lines are streamed.
bool writes_past_caches(const SampleForwardParams& params) {
  const SampleShape& s = params.shape;
  const int64_t size = size_of(s.dtype);
  const int64_t run = size * (s.channels_last ? s.channels : s.out_w);
  const int64_t bytes = size * s.batch * s.channels * s.out_h * s.out_w;
  return bytes >= kStreamedBytes && run % 64 == 0 &&
         reinterpret_cast<uintptr_t>(params.output) % 64 == 0;
}

// Everything but the tables. Depends on the shape alone: neither the instruction set nor the
// number of threads may change a result's order of summation or the workspace's size.
BackwardPlan plan_backward(const SampleBackwardParams& params, size_t* bytes) {
  const SampleShape& s = params.shape;
  const size_t real = size_of(accumulate_type(s.dtype));
  const int64_t in_pixels = static_cast<int64_t>(s.in_h) * s.in_w;
  const int64_t out_pixels = static_cast<int64_t>(s.out_h) * s.out_w;
  BackwardPlan plan;
  plan.params = params;
  plan.slab_width = 32;
  plan.slabs = ceil_div(s.channels, plan.slab_width);
  Arena arena(params.workspace);
  const size_t taps_bytes = real == 8 ? sizeof(BackwardTaps<double>) : sizeof(BackwardTaps<float>);
  plan.taps = arena.take(taps_bytes * s.batch * ceil_div(out_pixels, kChunk));
  const size_t slabs_bytes = real * s.batch * plan.slabs * in_pixels * plan.slab_width;
  if (params.grad_offset != nullptr) {
    plan.grad_offset = arena.take(real * s.batch * plan.slabs * 2 * out_pixels);
    plan.input = arena.take(slabs_bytes);
  }
  if (params.grad_input != nullptr) plan.grad_input = arena.take(slabs_bytes);
  if (bytes != nullptr) *bytes = arena.used();
  return plan;
}

}  // namespace

void aggregate_forward(const AggregateForwardParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  run(threads, params.batch * params.height,
      [&](int64_t begin, int64_t end) { kernels.aggregate_forward(params, begin, end); });
}

void aggregate_backward(const AggregateBackwardParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  if (params.grad_offset == nullptr && params.grad_mask == nullptr) return;
  run(threads, params.batch * ceil_div(params.height, kAggregateRows),
      [&](int64_t begin, int64_t end) { kernels.aggregate_backward(params, begin, end); });
}

void sample_forward(const SampleForwardParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  const SampleShape& s = params.shape;
  if (s.batch == 0 || s.channels == 0) return;
  const DType accumulate = accumulate_type(s.dtype);
  const AxisGeometry y(s.upsample, s.in_h, s.out_h, s.ratio_y, accumulate);
  const AxisGeometry x(s.upsample, s.in_w, s.out_w, s.ratio_x, accumulate);
  ForwardPlan plan;
  plan.params = params;
  plan.y = y.table();
  plan.x = x.table();
  plan.tile_h = s.channels_last ? 1 : kTileHeight;
  plan.tile_w = s.channels_last ? s.out_w : kTileWidth;
  plan.group_h = kGroupHeight;
  plan.streams = writes_past_caches(params);
  const int64_t tiles = ceil_div(s.out_h, plan.tile_h) * ceil_div(s.out_w, plan.tile_w);
  run(threads, s.batch * tiles,
      [&](int64_t begin, int64_t end) { kernels.sample_forward(plan, begin, end); });
}

size_t sample_backward_workspace_bytes(const SampleBackwardParams& params) {
  size_t bytes = 0;
  plan_backward(params, &bytes);
  return bytes;
}

void sample_backward(const SampleBackwardParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  const SampleShape& s = params.shape;
  const int64_t out_pixels = static_cast<int64_t>(s.out_h) * s.out_w;
  if (s.batch == 0) return;
  if (s.channels == 0) {
    if (params.grad_offset != nullptr) {
      std::memset(params.grad_offset, 0, size_of(params.offset_dtype) * s.batch * 2 * out_pixels);
    }
    return;
  }
  const DType accumulate = accumulate_type(s.dtype);
  const AxisGeometry y(s.upsample, s.in_h, s.out_h, s.ratio_y, accumulate);
  const AxisGeometry x(s.upsample, s.in_w, s.out_w, s.ratio_x, accumulate);
  BackwardPlan plan = plan_backward(params, nullptr);
  plan.y = y.table();
  plan.x = x.table();
  run(threads, s.batch * ceil_div(out_pixels, kChunk),
      [&](int64_t begin, int64_t end) { kernels.backward_locate(plan, begin, end); });
  run(threads, s.batch * plan.slabs,
      [&](int64_t begin, int64_t end) { kernels.backward_scatter(plan, begin, end); });
  if (params.grad_offset == nullptr) return;
  run(threads, s.batch * ceil_div(2 * out_pixels, kChunk),
      [&](int64_t begin, int64_t end) { kernels.backward_reduce(plan, begin, end); });
}

}  // namespace scrn::srm::cpu
