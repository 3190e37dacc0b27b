// What the bindings call: the launchers by the types that the parameters name. The launchers
// themselves are in the other translation units, as in the GPU build.

#include "classify/cuda/dispatch.cu"
#include "entries.h"

namespace {

using namespace scrn_on_cpu;

const Register kWorkspace("dispatch_workspace", [](const Arguments& a) -> int64_t {
  return static_cast<int64_t>(
      scrn::classify::cuda::cross_entropy_workspace_bytes(shape(a), a.integer("keeps") != 0));
});

const Register kLoss("dispatch_cross_entropy", [](const Arguments& a) -> int64_t {
  return scrn::classify::cuda::cross_entropy(cross_entropy_params(a), a.pointer<void>("workspace"),
                                             nullptr);
});

const Register kBackward("dispatch_cross_entropy_backward", [](const Arguments& a) -> int64_t {
  return scrn::classify::cuda::cross_entropy_backward(backward_params(a),
                                                      a.pointer<void>("workspace"), nullptr);
});

const Register kScale("dispatch_scale_gradient", [](const Arguments& a) -> int64_t {
  return scrn::classify::cuda::scale_gradient(scale_params(a), nullptr);
});

const Register kArgmax("dispatch_argmax", [](const Arguments& a) -> int64_t {
  return scrn::classify::cuda::argmax(argmax_params(a), nullptr);
});

}  // namespace
