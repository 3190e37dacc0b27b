// Cuts the operators into tasks.

#include "../../common/cpu/isa.h"
#include "../cpu.h"
#include "plan.h"

namespace scrn::depthwise::cpu {
namespace {

const Kernels& current_kernels() { return SCRN_KERNELS_IN_USE(kernels); }

// An output of this many bytes leaves the caches before anyone reads it: to fetch its lines first
// would only cost.
constexpr int64_t kStreamedBytes = 8 * 1024 * 1024;
// The GELU's tiles. Where channels are neighbours in memory, many of them are read together: what
// is taken line by line from far apart costs twice as much. With AVX-512 the rows of narrow tiles
// stay in an L1 cache of 48 KB: 15 % less at 2048 channels of 32x64.
constexpr int32_t kGeluWidth = 32, kGeluWidthOfPlanes = 512, kGeluGroupBytes = 2048;
constexpr int32_t kNarrowGeluWidth = 16, kNarrowGeluGroupBytes = 512;
// Bytes of a task's rows in place: half of an L2 cache of 512 KiB. A Zen 3 took a tenth longer with
// three quarters of it. Tiles there are as wide as the image: with 2 KiB of channels for each,
// there were three of them at 1280 channels of a narrow map, for any number of threads.
constexpr int64_t kGeluRows = 256 * 1024;
constexpr int32_t kGeluGroupBytesInPlace = 256;

int32_t accumulate_bytes(const UnitShape& s) {
  return static_cast<int32_t>(size_of(accumulate_type(s.dtype)));
}

// Only whole, aligned cache lines are streamed.
bool writes_past_caches(const UnitShape& s, const void* input, const void* output) {
  const int64_t size = size_of(s.dtype);
  const int64_t bytes = size * s.batch * s.channels * s.height * s.width;
  return s.channels_last && size >= 4 && bytes >= kStreamedBytes && s.channels * size % 64 == 0 &&
         output != nullptr && output != input && reinterpret_cast<uintptr_t>(output) % 64 == 0;
}

// Columns of a tile of the forward, whose rings of rows stay in the L2 cache: it has 1 MB and more
// where there is AVX-512, else perhaps 512 KB. Wide tiles suit planes, whose rows are then read and
// written in longer pieces.
int32_t widest_forward(const UnitShape& s, const Kernels& kernels) {
  const bool many_rings = s.unit == Unit::kMultiScale;
  if (kernels.register_bytes < 64) return many_rings || s.channels_last ? 64 : 128;
  return many_rings && s.channels_last ? 96 : 128;
}

// Of the backward; the layout is not asked, as the width decides the order of sums.
int32_t widest_backward(const UnitShape& s, const Kernels& kernels) {
  if (s.unit != Unit::kMultiScale) return 128;
  return kernels.register_bytes < 64 ? 64 : 96;
}

// All tiles of an image are as wide as each other but for the last, a whole number of blocks.
int32_t tile_width(const UnitShape& s, int32_t widest) {
  const int64_t tiles = ceil_div(s.width, widest);
  return static_cast<int32_t>(ceil_div(ceil_div(s.width, tiles), 4) * 4);
}

BackwardPlan plan_backward(const BackwardParams& params, const Kernels& kernels, size_t* bytes) {
  const UnitShape& s = params.shape;
  BackwardPlan plan;
  plan.params = params;
  plan.tile_width = tile_width(s, widest_backward(s, kernels));
  plan.tiles = ceil_div(s.width, plan.tile_width);
  plan.streams =
      kernels.register_bytes == 64 && writes_past_caches(s, params.input, params.grad_input);
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
  plan.group = 64 / accumulate_bytes(s);
  plan.tile_width = tile_width(s, widest_forward(s, kernels));
  if (s.unit == Unit::kGelu) {
    plan.gelu_table = gelu_table();
    const bool in_place = params.output == params.input;
    const bool narrow = kernels.register_bytes == 64 && !in_place;
    const int32_t width = narrow ? kNarrowGeluWidth : kGeluWidth;
    int64_t group_bytes = in_place ? kGeluGroupBytesInPlace
                          : narrow ? kNarrowGeluGroupBytes
                                   : kGeluGroupBytes;
    if (!s.channels_last) group_bytes = 64;
    plan.tile_width = tile_width(s, s.channels_last ? width : kGeluWidthOfPlanes);
    if (in_place) {
      // A tile's neighbours would find their part of the input overwritten.
      plan.tile_width = s.width;
      const int64_t fitting = kGeluRows / ((s.square + 1) * static_cast<int64_t>(s.width));
      group_bytes = fitting / 64 * 64 < group_bytes ? fitting / 64 * 64 : group_bytes;
      group_bytes = group_bytes < 64 ? 64 : group_bytes;
    }
    plan.group = static_cast<int32_t>(group_bytes / accumulate_bytes(s));
  }
  plan.tiles = ceil_div(s.width, plan.tile_width);
  plan.streams = writes_past_caches(s, params.input, params.output);
  scrn::cpu::run(threads, s.batch * plan.tiles * ceil_div(s.channels, plan.group),
                 [&](int64_t begin, int64_t end) { kernels.forward(plan, begin, end); });
}

size_t backward_workspace_bytes(const BackwardParams& params) {
  size_t bytes = 0;
  plan_backward(params, current_kernels(), &bytes);
  return bytes;
}

void backward(const BackwardParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  const UnitShape& s = params.shape;
  size_t bytes = 0;
  const BackwardPlan plan = plan_backward(params, kernels, &bytes);
  const int64_t lanes = kernels.register_bytes / accumulate_bytes(s);
  const int64_t groups = ceil_div(s.channels, lanes);
  scrn::cpu::run(threads, s.batch * plan.tiles * groups,
                 [&](int64_t begin, int64_t end) { kernels.backward(plan, begin, end); });
  if (params.grad_weights == nullptr) return;
  scrn::cpu::run(threads, groups,
                 [&](int64_t begin, int64_t end) { kernels.reduce(plan, begin, end); });
}

}  // namespace scrn::depthwise::cpu
