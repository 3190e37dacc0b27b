#include "../../../cuda_on_cpu/srm/kernels/params.h"
#include "../../harness/module.h"
#include "srm/cpu.h"

namespace {

using namespace scrn_on_cpu;
using cpu_kernels::threads;

const Register kAggregateForward("aggregate_forward", [](const Arguments& a) -> int64_t {
  scrn::srm::cpu::aggregate_forward(aggregate_forward_params(a), threads());
  return 0;
});

const Register kAggregateBackward("aggregate_backward", [](const Arguments& a) -> int64_t {
  scrn::srm::cpu::aggregate_backward(aggregate_backward_params(a), threads());
  return 0;
});

const Register kForward("sample_forward", [](const Arguments& a) -> int64_t {
  scrn::srm::cpu::sample_forward(forward_params(a), threads());
  return 0;
});

const Register kWorkspace("sample_backward_workspace", [](const Arguments& a) -> int64_t {
  return static_cast<int64_t>(
      scrn::srm::cpu::sample_backward_workspace_bytes(backward_params(a)));
});

const Register kBackward("sample_backward", [](const Arguments& a) -> int64_t {
  scrn::srm::cpu::sample_backward(backward_params(a), threads());
  return 0;
});

}  // namespace
