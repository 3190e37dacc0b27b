#pragma once

#include "entries.h"
#include "srm/cuda/sample_forward.cuh"

namespace scrn_on_cpu {

template <typename T>
int64_t forward(const Arguments& a) {
  return scrn::srm::cuda::launch_sample_forward<T>(forward_params(a), nullptr, launch_options(a));
}

// What the launcher plans, without a launch.
template <typename T>
int64_t forward_blocks(const Arguments& a) {
  return scrn::srm::cuda::plan_forward<T>(forward_params(a)).blocks;
}

template <typename T>
int64_t forward_blocks_at_a_time(const Arguments& a) {
  return a.integer("channels_last") != 0 ? scrn::srm::cuda::kLastBlocks<T>
                                         : scrn::srm::cuda::kForwardBlocks<T>;
}

template <typename T>
int64_t forward_fits_index32(const Arguments& a) {
  return scrn::srm::cuda::forward_fits_index32<T>(shape(a));
}

}  // namespace scrn_on_cpu
