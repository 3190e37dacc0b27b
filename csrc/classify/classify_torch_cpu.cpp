// The operators on the CPU: the kernels of cpu.h, on torch's threads.
#include "cpu.h"
#include "torch_ops.h"

namespace scrn::classify {
namespace {

void torch_parallel_for(void*, int64_t count, void (*body)(void*, int64_t, int64_t), void* state) {
  torch::stable::parallel_for(0, count, /*grain_size=*/1,
                              [&](int64_t begin, int64_t end) { body(state, begin, end); });
}

class CpuBackend {
 public:
  explicit CpuBackend(const Tensor&) {}

  void run(const CrossEntropyParams& params) const { cpu::cross_entropy(params, threads_); }
  void run(const CrossEntropyBackwardParams& params) const {
    cpu::cross_entropy_backward(params, threads_);
  }
  void run(const ScaleGradientParams& params) const { cpu::scale_gradient(params, threads_); }
  void run(const ArgmaxParams& params) const { cpu::argmax(params, threads_); }

 private:
  cpu::Threads threads_{torch_parallel_for, nullptr};
};

}  // namespace
}  // namespace scrn::classify

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CPU, m) {
  scrn::classify::register_kernels<scrn::classify::CpuBackend>(m);
}
