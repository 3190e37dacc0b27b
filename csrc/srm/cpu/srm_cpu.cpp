// Cuts the operators into tasks.

#include "../srm_cpu.h"

#include <cstring>
#include <memory>
#include <new>

#include "dispatch.h"
#include "tables.h"

namespace scrn::cpu {
namespace {

// Tiles of the NCHW forward: wide ones keep runs of memory long, low ones keep the tables and
// the window in the L2 cache.
constexpr int32_t kTileHeight = 8, kTileWidth = 256, kGroupHeight = 4;

template <typename Body>
void run(const Threads& threads, int64_t count, const Body& body) {
  if (count <= 0) return;
  threads.parallel_for(
      threads.context, count,
      [](void* state, int64_t begin, int64_t end) {
        (*static_cast<const Body*>(state))(begin, end);
      },
      const_cast<Body*>(&body));
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

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

struct FreeAligned {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t(64)); }
};

// Hands out aligned pieces of the workspace; with no workspace it only adds up.
class Arena {
 public:
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}
  void* take(size_t bytes) {
    const size_t begin = used_;
    used_ += (bytes + 63) / 64 * 64;
    return memory_ == nullptr ? nullptr : memory_ + begin;
  }
  size_t used() const { return used_; }

 private:
  char* memory_;
  size_t used_ = 0;
};

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
  plan.slabs = divide_up(s.channels, plan.slab_width);
  Arena arena(params.workspace);
  const size_t taps_bytes = real == 8 ? sizeof(BackwardTaps<double>) : sizeof(BackwardTaps<float>);
  plan.taps = arena.take(taps_bytes * s.batch * divide_up(out_pixels, kChunk));
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

void* thread_scratch(size_t bytes) {
  thread_local std::unique_ptr<void, FreeAligned> memory;
  thread_local size_t size = 0;
  if (bytes > size) {
    memory.reset();
    size = 0;
    memory.reset(::operator new(bytes, std::align_val_t(64)));
    size = bytes;
  }
  return memory.get();
}

void aggregate_forward(const AggregateForwardParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  run(threads, params.batch * params.height,
      [&](int64_t begin, int64_t end) { kernels.aggregate_forward(params, begin, end); });
}

void aggregate_backward(const AggregateBackwardParams& params, const Threads& threads) {
  const Kernels& kernels = current_kernels();
  if (params.grad_offset == nullptr && params.grad_mask == nullptr) return;
  run(threads, params.batch * divide_up(params.height, kAggregateRows),
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
  const int64_t tiles = divide_up(s.out_h, plan.tile_h) * divide_up(s.out_w, plan.tile_w);
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
  run(threads, s.batch * divide_up(out_pixels, kChunk),
      [&](int64_t begin, int64_t end) { kernels.backward_locate(plan, begin, end); });
  run(threads, s.batch * plan.slabs,
      [&](int64_t begin, int64_t end) { kernels.backward_scatter(plan, begin, end); });
  if (params.grad_offset == nullptr) return;
  run(threads, s.batch * divide_up(2 * out_pixels, kChunk),
      [&](int64_t begin, int64_t end) { kernels.backward_reduce(plan, begin, end); });
}

}  // namespace scrn::cpu
