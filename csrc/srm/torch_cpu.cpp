// The operators on the CPU: the kernels of cpu.h, on torch's threads.
#include "../common/backend_cpu.h"
#include "cpu.h"
#include "torch_ops.h"

namespace scrn::srm {
namespace {

class Cpu : scrn::CpuBackend {
 public:
  using scrn::CpuBackend::CpuBackend;

  size_t workspace_bytes(const SampleBackwardParams& params) const {
    return cpu::sample_backward_workspace_bytes(params);
  }
  void run(const AggregateForwardParams& params) const { cpu::aggregate_forward(params, threads_); }
  void run(const AggregateBackwardParams& params) const {
    cpu::aggregate_backward(params, threads_);
  }
  void run(const SampleForwardParams& params) const { cpu::sample_forward(params, threads_); }
  void run(const SampleBackwardParams& params) const { cpu::sample_backward(params, threads_); }
};

}  // namespace
}  // namespace scrn::srm

STABLE_TORCH_LIBRARY_IMPL(scrn_ops, CPU, m) { scrn::srm::register_kernels<scrn::srm::Cpu>(m); }
