// Cuts the operator into tasks.

#include "../../common/cpu/isa.h"
#include "../cpu.h"
#include "plan.h"

namespace scrn::convolution::cpu {
namespace {

const Kernels& current_kernels() { return SCRN_KERNELS_IN_USE(kernels); }

// Bytes of a run's points and sums, which should stay in the L2 cache: it has 1 MB and more where
// there is AVX-512, else perhaps 512 KB.
constexpr int64_t kRunBytes = 1024 * 1024, kRunBytesOfSmallCaches = 256 * 1024;
// Runs are not made shorter than about that, since each reads all weights.
constexpr int64_t kShortestRun = 24, kShortestRunOfSmallCaches = 12;
constexpr int64_t kKeptPanels = 4;
// The number of runs is a multiple of that, so that threads share them evenly; where there are
// fewer of them, groups of panels are tasks, too, of which each transforms the run's patches anew.
constexpr int64_t kTasks = 4;
constexpr int64_t kLine = 64 / sizeof(float);

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t runs_of(const ForwardPlan& plan, int64_t tiles, const Kernels& kernels) {
  const bool small = kernels.register_bytes < 64;
  const int64_t bytes = small ? kRunBytesOfSmallCaches : kRunBytes;
  const int64_t shortest = small ? kShortestRunOfSmallCaches : kShortestRun;
  const int64_t tile_bytes =
      sizeof(float) * kPoints * (plan.padded_channels + kKeptPanels * kPanel);
  const int64_t longest = bytes / tile_bytes < 1 ? 1 : bytes / tile_bytes;
  const int64_t runs = ceil_div(ceil_div(tiles, longest), kTasks) * kTasks;
  return smaller(runs, ceil_div(tiles, shortest));
}

}  // namespace

void forward(const ForwardParams& params, const scrn::cpu::Threads& threads) {
  const Kernels& kernels = current_kernels();
  ForwardPlan plan;
  plan.params = params;
  plan.tiles_y = ceil_div(params.height, kTile);
  plan.tiles_x = ceil_div(params.width, kTile);
  plan.padded_channels = ceil_div(params.channels, kLine) * kLine;
  plan.kept_panels = kKeptPanels;
  const int64_t tiles = params.batch * plan.tiles_y * plan.tiles_x;
  const int64_t panels = ceil_div(params.features, kPanel);
  plan.run = ceil_div(tiles, runs_of(plan, tiles, kernels));
  const int64_t runs = ceil_div(tiles, plan.run);
  const int64_t groups = runs < kTasks ? kTasks : 1;
  plan.group_panels = ceil_div(ceil_div(panels, groups), kKeptPanels) * kKeptPanels;
  plan.groups = ceil_div(panels, plan.group_panels);
  // A line more than the tiles have: at a multiple of a large power of two they would share few
  // sets of the caches.
  plan.points_step = plan.run * plan.padded_channels + kLine;
  plan.sums_step = plan.run * kKeptPanels * kPanel + kLine;
  scrn::cpu::run(threads, runs * plan.groups,
                 [&](int64_t begin, int64_t end) { kernels.forward(plan, begin, end); });
}

}  // namespace scrn::convolution::cpu
