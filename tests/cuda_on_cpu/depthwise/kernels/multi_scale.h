#pragma once

// Registers the multi-scale unit's launchers of sums in one type, for maps of the type `name`.

#include <string>

#include "../../harness/launch_options.h"
#include "depthwise/cuda/multi_scale.cuh"
#include "params.h"

namespace {

using namespace scrn_on_cpu;

template <typename A>
struct MultiScale {
  explicit MultiScale(const std::string& name) {
    const Register forward(("multi_scale_" + name).c_str(), [](const Arguments& a) -> int64_t {
      return scrn::depthwise::cuda::launch_multi_scale<A>(forward_params(a), nullptr,
                                                          launch_options(a));
    });
    const Register workspace(
        ("multi_scale_workspace_" + name).c_str(), [](const Arguments& a) -> int64_t {
          return static_cast<int64_t>(
              scrn::depthwise::cuda::multi_scale_workspace<A>(backward_params(a)));
        });
    const Register backward(("multi_scale_backward_" + name).c_str(),
                            [](const Arguments& a) -> int64_t {
                              return scrn::depthwise::cuda::launch_multi_scale_backward<A>(
                                  backward_params(a), nullptr, launch_options(a));
                            });
  }
};

}  // namespace
