#pragma once

// Registers the launchers of one type.

#include "../../harness/launch_options.h"
#include "classify/cuda/launch.cuh"
#include "params.h"

namespace scrn_on_cpu {

inline scrn::classify::cuda::LossOptions loss_options(const Arguments& a) {
  scrn::classify::cuda::LossOptions options;
  static_cast<scrn::cuda::LaunchOptions&>(options) = launch_options(a);
  if (a.integer("buffer_bytes") >= 0) options.buffer_bytes = a.integer("buffer_bytes");
  return options;
}

}  // namespace scrn_on_cpu

#define SCRN_REGISTER_CLASSIFY(T, name)                                                          \
  namespace {                                                                                    \
  using namespace scrn_on_cpu;                                                                   \
  const Register kWorkspace("workspace_" name, [](const Arguments& a) -> int64_t {               \
    return static_cast<int64_t>(scrn::classify::cuda::loss_workspace<T>(                         \
        shape(a), a.integer("keeps") != 0, loss_options(a)));                                    \
  });                                                                                            \
  const Register kLoss("cross_entropy_" name, [](const Arguments& a) -> int64_t {                \
    return scrn::classify::cuda::launch_cross_entropy<T>(                                        \
        cross_entropy_params(a), a.pointer<void>("workspace"), nullptr, loss_options(a));        \
  });                                                                                            \
  const Register kBackward("cross_entropy_backward_" name, [](const Arguments& a) -> int64_t {   \
    return scrn::classify::cuda::launch_cross_entropy_backward<T>(                               \
        backward_params(a), a.pointer<void>("workspace"), nullptr, loss_options(a));             \
  });                                                                                            \
  const Register kScale("scale_gradient_" name, [](const Arguments& a) -> int64_t {              \
    return scrn::classify::cuda::launch_scale_gradient<T>(scale_params(a), nullptr,              \
                                                          launch_options(a));                    \
  });                                                                                            \
  const Register kArgmax("argmax_" name, [](const Arguments& a) -> int64_t {                     \
    return scrn::classify::cuda::launch_argmax<T>(argmax_params(a), nullptr, launch_options(a)); \
  });                                                                                            \
  }
