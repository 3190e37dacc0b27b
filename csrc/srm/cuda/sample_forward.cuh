#pragma once

// Eq. 4, with Eq. 3 in front of it and the skip behind it, in one kernel per layout.

#include "forward_channels_last.cuh"
#include "forward_planes.cuh"

namespace scrn::srm::cuda {

template <typename T>
ForwardPlan plan_forward(const SampleForwardParams& p) {
  return p.shape.channels_last ? plan_forward_channels_last<T>(p) : plan_forward_planes<T>(p);
}

// A pixel's bytes, too, are counted in an index on channels_last.
template <typename T>
bool forward_fits_index32(const SampleShape& shape) {
  return fits_index32(shape) && fits_index32(shape.channels * static_cast<int64_t>(sizeof(T)));
}

template <typename T>
int launch_sample_forward(const SampleForwardParams& params, cudaStream_t stream,
                          const LaunchOptions& options = {}) {
  ForwardPlan plan = plan_forward<T>(params);
  const bool wide = options.index64 || !forward_fits_index32<T>(params.shape);
  auto* kernel = params.shape.channels_last
                     ? (wide ? sample_forward_channels_last_kernel<T, int64_t>
                             : sample_forward_channels_last_kernel<T, int32_t>)
                     : (wide ? sample_forward_planes_kernel<T, int64_t>
                             : sample_forward_planes_kernel<T, int32_t>);
  // One launch unless there are more than 2^31 - 1 blocks. A kernel that strides over its work
  // keeps what does not change from tile to tile in registers, which are needed for loads under
  // way.
  for (; plan.first < plan.blocks; plan.first += options.max_blocks) {
    const dim3 grid = grid_of(plan.blocks - plan.first, options);
    SCRN_LAUNCH(kernel, grid, kThreads, 0, stream, params, plan);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace scrn::srm::cuda
