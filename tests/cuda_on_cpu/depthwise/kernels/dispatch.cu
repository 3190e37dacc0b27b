// What the bindings call: the launchers by the types that the parameters name. The launchers
// themselves are in the other translation units, as in the GPU build.

#include "depthwise/cuda/dispatch.cu"
#include "params.h"

namespace {

using namespace scrn_on_cpu;

const Register kMultiScale("dispatch_multi_scale", [](const Arguments& a) -> int64_t {
  return scrn::depthwise::cuda::multi_scale(forward_params(a), nullptr);
});

const Register kWorkspace("dispatch_multi_scale_workspace", [](const Arguments& a) -> int64_t {
  return static_cast<int64_t>(
      scrn::depthwise::cuda::multi_scale_workspace_bytes(backward_params(a)));
});

const Register kBackward("dispatch_multi_scale_backward", [](const Arguments& a) -> int64_t {
  return scrn::depthwise::cuda::multi_scale_backward(backward_params(a), nullptr);
});

}  // namespace
