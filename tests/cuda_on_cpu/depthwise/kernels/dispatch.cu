// What the bindings call: the launchers by the types that the parameters name. The launchers
// themselves are in the other translation units, as in the GPU build.

#include "depthwise/cuda/dispatch.cu"
#include "params.h"

namespace {

using namespace scrn_on_cpu;

const Register kMultiScale("dispatch_multi_scale", [](const Arguments& a) -> int64_t {
  return scrn::depthwise::cuda::multi_scale(forward_params(a), nullptr);
});

}  // namespace
