// Cuts the operators into tasks.

#include "../cpu.h"

#include "../../common/cpu/isa.h"
#include "plan.h"

namespace scrn::depthwise::cpu {
namespace {

const Kernels& current_kernels() { return SCRN_KERNELS_IN_USE(kernels); }

// An output of this many bytes leaves the caches before anyone reads it: to fetch its lines first
// would only cost.
constexpr int64_t kStreamedBytes = 8 * 1024 * 1024;
// Widest image whose rows of a group stay in the L2 cache.
constexpr int32_t kWholeRow = 1024;

int32_t accumulate_bytes(const UnitShape& s) {
  return static_cast<int32_t>(size_of(accumulate_type(s.dtype)));
}

// Only whole, aligned cache lines are streamed.
bool writes_past_caches(const ForwardParams& params) {
  const UnitShape& s = params.shape;
  const int64_t size = size_of(s.dtype);
  const int64_t bytes = size * s.batch * s.channels * s.height * s.width;
  return s.channels_last && size >= 4 && bytes >= kStreamedBytes && s.channels * size % 64 == 0 &&
         params.output != params.input && reinterpret_cast<uintptr_t>(params.output) % 64 == 0;
}

// Depends on the shape alone, like all that decides the order of a sum. As wide as possible, and
// all of an image as wide as each other but for the last, a whole number of blocks.
int32_t tile_width(const UnitShape& s, int32_t widest) {
  const int64_t tiles = ceil_div(s.width, widest);
  return static_cast<int32_t>(ceil_div(ceil_div(s.width, tiles), 4) * 4);
}

// Everything but the kernels' instruction set.
BackwardPlan plan_backward(const BackwardParams& params, size_t* bytes) {
  const UnitShape& s = params.shape;
  BackwardPlan plan;
  plan.params = params;
  plan.tile_width = tile_width(s, kTileWidth);
  plan.tiles = ceil_div(s.width, plan.tile_width);
  plan.padded_channels = ceil_div(s.channels, 16) * 16;
  plan.partial = static_cast<double*>(params.workspace);
  *bytes = sizeof(double) * s.batch * plan.tiles * plan.padded_channels * taps_of(s);
  if (params.grad_weights == nullptr) *bytes = 0;
  return plan;
}

}  // namespace

void forward(const ForwardParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  const UnitShape& s = params.shape;
  ForwardPlan plan;
  plan.params = params;
  const bool in_place = params.output == params.input;
  const bool small = s.unit == Unit::kGelu && (in_place || s.width <= kWholeRow);
  const int32_t widest = s.unit == Unit::kGelu ? kWholeRow : kTileWidth;
  plan.tile_width = small ? s.width : tile_width(s, widest);
  plan.tiles = ceil_div(s.width, plan.tile_width);
  plan.streams = writes_past_caches(params);
  const int64_t groups = ceil_div(s.channels, 64 / accumulate_bytes(s));
  scrn::cpu::run(threads, s.batch * plan.tiles * groups,
      [&](int64_t begin, int64_t end) { kernels.forward(plan, begin, end); });
}

size_t backward_workspace_bytes(const BackwardParams& params) {
  size_t bytes = 0;
  plan_backward(params, &bytes);
  return bytes;
}

void backward(const BackwardParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  const UnitShape& s = params.shape;
  size_t bytes = 0;
  const BackwardPlan plan = plan_backward(params, &bytes);
  const int64_t lanes = kernels.register_bytes / accumulate_bytes(s);
  const int64_t groups = ceil_div(s.channels, lanes);
  scrn::cpu::run(threads, s.batch * plan.tiles * groups,
      [&](int64_t begin, int64_t end) { kernels.backward(plan, begin, end); });
  if (params.grad_weights == nullptr) return;
  scrn::cpu::run(threads, groups, [&](int64_t begin, int64_t end) { kernels.reduce(plan, begin, end); });
}

}  // namespace scrn::depthwise::cpu
