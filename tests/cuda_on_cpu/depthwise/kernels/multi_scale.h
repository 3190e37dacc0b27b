#pragma once

// Registers the multi-scale unit's launchers of one type.

#include "../../harness/launch_options.h"
#include "depthwise/cuda/multi_scale.cuh"
#include "params.h"

#define SCRN_REGISTER_MULTI_SCALE(T, name)                                                     \
  namespace {                                                                                  \
  using namespace scrn_on_cpu;                                                                 \
  const Register kForward("multi_scale_" name, [](const Arguments& a) -> int64_t {             \
    return scrn::depthwise::cuda::launch_multi_scale<T>(forward_params(a), nullptr,            \
                                                        launch_options(a));                    \
  });                                                                                          \
  const Register kWorkspace("multi_scale_workspace_" name, [](const Arguments& a) -> int64_t { \
    return static_cast<int64_t>(                                                               \
        scrn::depthwise::cuda::multi_scale_workspace<T>(backward_params(a)));                  \
  });                                                                                          \
  const Register kBackward("multi_scale_backward_" name, [](const Arguments& a) -> int64_t {   \
    return scrn::depthwise::cuda::launch_multi_scale_backward<T>(backward_params(a), nullptr,  \
                                                                 launch_options(a));           \
  });                                                                                          \
  }
