// What the bindings call: the launchers by the types that the parameters name. The launchers
// themselves are in the other translation units, as in the GPU build.

#include "entries.h"
#include "srm/cuda/dispatch.cu"

namespace {

using namespace scrn_on_cpu;

const Register kAggregateForward("dispatch_aggregate_forward", [](const Arguments& a) -> int64_t {
  return scrn::srm::cuda::aggregate_forward(aggregate_forward_params(a), nullptr);
});

const Register kAggregateBackward("dispatch_aggregate_backward", [](const Arguments& a) -> int64_t {
  return scrn::srm::cuda::aggregate_backward(aggregate_backward_params(a), nullptr);
});

const Register kForward("dispatch_sample_forward", [](const Arguments& a) -> int64_t {
  return scrn::srm::cuda::sample_forward(forward_params(a), nullptr);
});

const Register kBackward("dispatch_sample_backward", [](const Arguments& a) -> int64_t {
  return scrn::srm::cuda::sample_backward(backward_params(a), nullptr);
});

const Register kWorkspace("dispatch_sample_backward_workspace", [](const Arguments& a) -> int64_t {
  return static_cast<int64_t>(scrn::srm::cuda::sample_backward_workspace_bytes(backward_params(a)));
});

}  // namespace
