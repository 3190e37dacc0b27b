// The GELU unit's launchers, which choose by the parameters' types.

#include "../../harness/launch_options.h"
#include "depthwise/cuda/gelu.cu"
#include "params.h"

namespace {

using namespace scrn_on_cpu;
using namespace scrn::depthwise::cuda;

const Register kBorders("gelu_border_bytes", [](const Arguments& a) -> int64_t {
  return static_cast<int64_t>(gelu_border_bytes(forward_params(a)));
});

const Register kForward("gelu", [](const Arguments& a) -> int64_t {
  return launch_gelu(forward_params(a), a.pointer<void>("workspace"), nullptr, launch_options(a));
});

const Register kWorkspace("gelu_workspace", [](const Arguments& a) -> int64_t {
  return static_cast<int64_t>(gelu_workspace_bytes(backward_params(a)));
});

const Register kBackward("gelu_backward", [](const Arguments& a) -> int64_t {
  const auto params = backward_params(a);
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return launch_gelu_backward<A>(params, nullptr, launch_options(a));
  });
});

const Register kDispatch("dispatch_gelu", [](const Arguments& a) -> int64_t {
  return gelu(forward_params(a), a.pointer<void>("workspace"), nullptr);
});

const Register kDispatchBackward("dispatch_gelu_backward", [](const Arguments& a) -> int64_t {
  return gelu_backward(backward_params(a), nullptr);
});

}  // namespace
