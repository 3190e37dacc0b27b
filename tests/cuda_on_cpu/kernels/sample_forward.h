#pragma once

#include "entries.h"
#include "srm/cuda/sample_forward.cuh"

namespace scrn_on_cpu {

template <typename T>
int64_t forward(const Arguments& a) {
  return scrn::cuda::launch_sample_forward<T>(forward_params(a), nullptr, launch_options(a));
}

}  // namespace scrn_on_cpu
