#pragma once

// One feature type to a translation unit: these are the largest kernels.

#include "entries.h"
#include "srm/cuda/sample_backward.cuh"

namespace scrn_on_cpu {

template <typename T>
int64_t backward(const Arguments& a) {
  return scrn::srm::cuda::launch_sample_backward<T>(backward_params(a), nullptr, launch_options(a));
}

template <typename T>
int64_t backward_workspace(const Arguments& a) {
  return static_cast<int64_t>(
      scrn::srm::cuda::sample_backward_workspace<T>(backward_params(a), launch_options(a)));
}

}  // namespace scrn_on_cpu
