// Cuts the operator into tasks.

#include "../../common/cpu/isa.h"
#include "../cpu.h"
#include "plan.h"

namespace scrn::convolution::cpu {
namespace {

const Kernels& current_kernels() { return SCRN_KERNELS_IN_USE(kernels); }

// Bytes of a run's points and sums, which should stay in the L2 cache: it has 1 MB and more where
// there is AVX-512, else perhaps 512 KB. Of fewer tiles to read the weights takes longer than to
// multiply by them.
constexpr int64_t kRunBytes = 1024 * 1024, kRunBytesOfSmallCaches = 256 * 1024;
constexpr int64_t kShortestRun = 24, kShortestRunOfSmallCaches = 12;
constexpr int64_t kPanels = 4;
constexpr int64_t kTasks = 4;  // of which there is a whole number of times as many, to be shared
constexpr int64_t kLine = 64 / sizeof(float);

int64_t run_of(const ForwardPlan& plan, int64_t tiles, const Kernels& kernels) {
  const bool small = kernels.register_bytes < 64;
  const int64_t bytes = small ? kRunBytesOfSmallCaches : kRunBytes;
  const int64_t shortest = small ? kShortestRunOfSmallCaches : kShortestRun;
  const int64_t tile_bytes = sizeof(float) * kPoints * (plan.padded_channels + kPanels * kPanel);
  const int64_t longest = bytes / tile_bytes > shortest ? bytes / tile_bytes : shortest;
  const int64_t tasks = ceil_div(ceil_div(tiles, longest), kTasks) * kTasks;
  const int64_t run = ceil_div(tiles, tasks);
  return run > shortest ? run : shortest;
}

}  // namespace

void forward(const ForwardParams& params, const scrn::cpu::Threads& threads) {
  const Kernels& kernels = current_kernels();
  ForwardPlan plan;
  plan.params = params;
  plan.tiles_y = ceil_div(params.height, kTile);
  plan.tiles_x = ceil_div(params.width, kTile);
  plan.padded_channels = ceil_div(params.channels, kLine) * kLine;
  plan.panels = kPanels;
  const int64_t tiles = params.batch * plan.tiles_y * plan.tiles_x;
  plan.run = run_of(plan, tiles, kernels);
  // The points of a tile are a line more than a power of two apart: they would share few sets of
  // the caches.
  plan.points_step = plan.run * plan.padded_channels + kLine;
  plan.sums_step = plan.run * kPanels * kPanel + kLine;
  scrn::cpu::run(threads, ceil_div(tiles, plan.run),
                 [&](int64_t begin, int64_t end) { kernels.forward(plan, begin, end); });
}

}  // namespace scrn::convolution::cpu
