// The large-kernel unit's launchers, which choose by the parameters' types.

#include "../../harness/launch_options.h"
// In front of what it counts.
#include "attributes.h"
#include "depthwise/cuda/large_kernel.cu"
#include "params.h"

namespace {

using namespace scrn_on_cpu;
using namespace scrn::depthwise::cuda;

scrn::cuda::LaunchOptions options(const Arguments& a) {
  scrn::cuda::LaunchOptions options = launch_options(a);
  if (a.integer("max_shared") > 0) options.max_shared = a.integer("max_shared");
  return options;
}

const Register kAttributes("attributes_set", [](const Arguments&) { return attributes_set; });

const Register kForward("large_kernel", [](const Arguments& a) -> int64_t {
  const auto params = forward_params(a);
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return launch_large_kernel<A>(params, nullptr, options(a));
  });
});

const Register kWorkspace("large_kernel_workspace", [](const Arguments& a) -> int64_t {
  return static_cast<int64_t>(large_kernel_workspace_bytes(backward_params(a)));
});

const Register kBackward("large_kernel_backward", [](const Arguments& a) -> int64_t {
  const auto params = backward_params(a);
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return launch_large_kernel_backward<A>(params, nullptr, options(a));
  });
});

const Register kDispatch("dispatch_large_kernel", [](const Arguments& a) -> int64_t {
  return large_kernel(forward_params(a), nullptr);
});

const Register kDispatchBackward("dispatch_large_kernel_backward",
                                 [](const Arguments& a) -> int64_t {
                                   return large_kernel_backward(backward_params(a), nullptr);
                                 });

}  // namespace
