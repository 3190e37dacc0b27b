// The operators on the CPU: the kernels of cpu.h, on torch's threads.
#include "../common/backend_cpu.h"
#include "cpu.h"
#include "torch_ops.h"

namespace scrn::classify {
namespace {

class Cpu : scrn::CpuBackend {
 public:
  using scrn::CpuBackend::CpuBackend;

  void run(const CrossEntropyParams& params) const { cpu::cross_entropy(params, threads_); }
  void run(const CrossEntropyBackwardParams& params) const {
    cpu::cross_entropy_backward(params, threads_);
  }
  void run(const ScaleGradientParams& params) const { cpu::scale_gradient(params, threads_); }
  void run(const ArgmaxParams& params) const { cpu::argmax(params, threads_); }
};

}  // namespace
}  // namespace scrn::classify

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CPU, m) {
  scrn::classify::register_kernels<scrn::classify::Cpu>(m);
}
