// The operators on the CPU: the kernels of srm_cpu.h, on torch's threads.
#include "srm_cpu.h"
#include "srm_torch_ops.h"

namespace scrn {
namespace {

void torch_parallel_for(void*, int64_t count, void (*body)(void*, int64_t, int64_t), void* state) {
  torch::stable::parallel_for(0, count, /*grain_size=*/1,
                              [&](int64_t begin, int64_t end) { body(state, begin, end); });
}

class CpuBackend {
 public:
  explicit CpuBackend(const Tensor&) {}

  size_t workspace_bytes(const SampleBackwardParams& params) const {
    return cpu::sample_backward_workspace_bytes(params);
  }
  void run(const AggregateForwardParams& params) const { cpu::aggregate_forward(params, threads_); }
  void run(const AggregateBackwardParams& params) const {
    cpu::aggregate_backward(params, threads_);
  }
  void run(const SampleForwardParams& params) const { cpu::sample_forward(params, threads_); }
  void run(const SampleBackwardParams& params) const { cpu::sample_backward(params, threads_); }

 private:
  cpu::Threads threads_{torch_parallel_for, nullptr};
};

}  // namespace
}  // namespace scrn

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CPU, m) { scrn::register_kernels<scrn::CpuBackend>(m); }
