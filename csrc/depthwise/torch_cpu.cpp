// The operators on the CPU: the kernels of cpu.h, on torch's threads.
#include "cpu.h"
#include "torch_ops.h"

namespace scrn::depthwise {
namespace {

void torch_parallel_for(void*, int64_t count, void (*body)(void*, int64_t, int64_t), void* state) {
  torch::stable::parallel_for(0, count, /*grain_size=*/1,
                              [&](int64_t begin, int64_t end) { body(state, begin, end); });
}

class CpuBackend {
 public:
  explicit CpuBackend(const Tensor&) {}

  size_t workspace_bytes(const BackwardParams& params) const {
    return cpu::backward_workspace_bytes(params);
  }
  void run(const ForwardParams& params) const { cpu::forward(params, threads_); }
  void run(const BackwardParams& params) const { cpu::backward(params, threads_); }

 private:
  ::scrn::cpu::Threads threads_{torch_parallel_for, nullptr};
};

}  // namespace
}  // namespace scrn::depthwise

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CPU, m) {
  scrn::depthwise::register_kernels<scrn::depthwise::CpuBackend>(m);
}
