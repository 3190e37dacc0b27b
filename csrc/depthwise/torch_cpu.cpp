// The operators on the CPU: the kernels of cpu.h, on torch's threads.
#include "../common/backend_cpu.h"
#include "cpu.h"
#include "torch_ops.h"

namespace scrn::depthwise {
namespace {

class Cpu : scrn::CpuBackend {
 public:
  using scrn::CpuBackend::CpuBackend;

  size_t workspace_bytes(const BackwardParams& params) const {
    return cpu::backward_workspace_bytes(params);
  }
  void run(const ForwardParams& params) const { cpu::forward(params, threads_); }
  void run(const BackwardParams& params) const { cpu::backward(params, threads_); }
};

}  // namespace
}  // namespace scrn::depthwise

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CPU, m) {
  scrn::depthwise::register_kernels<scrn::depthwise::Cpu>(m);
}
