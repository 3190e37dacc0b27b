#pragma once

// The gradients of Eq. 4: which kernels run, and the workspace that they need.

#include "../../common/cuda/fill.cuh"
#include "backward_gather.cuh"
#include "backward_planes.cuh"
#include "backward_window.cuh"
#include "scatter_planes.cuh"

namespace scrn::srm::cuda {

inline bool empty(const SampleShape& s) {
  return s.batch == 0 || s.channels == 0 || s.in_h == 0 || s.in_w == 0;
}

template <typename T>
size_t sample_backward_workspace(const SampleBackwardParams& p, const LaunchOptions& options = {}) {
  using A = Accumulate<T>;
  const SampleShape& s = p.shape;
  if (p.grad_input == nullptr || empty(s)) return 0;
  if (p.deterministic) {
    return options.index64 || !fits_index32(s) ? lay_out_lists<A, int64_t>(s, nullptr).bytes
                                               : lay_out_lists<A, int32_t>(s, nullptr).bytes;
  }
  // Sums of half types are held in fp32 until they are complete.
  const int64_t elements = s.batch * s.channels * s.in_h * s.in_w;
  return std::is_same_v<T, A> ? 0 : static_cast<size_t>(elements) * sizeof(A);
}

template <typename T, typename Index>
int launch_window(const SampleBackwardParams& p, Accumulate<T>* sums, cudaStream_t stream,
                  const LaunchOptions& options) {
  const WindowPlan plan = plan_window<T>(p, sums, options);
  auto* kernel = backward_window_kernel<T, Index>;
  SCRN_LAUNCH(kernel, grid_of(plan.blocks, options), kThreads, 0, stream, p, sums, plan);
  return cudaGetLastError();
}

template <typename T, typename Index>
int launch_sample_backward_as(const SampleBackwardParams& p, cudaStream_t stream,
                              const LaunchOptions& options) {
  using A = Accumulate<T>;
  const SampleShape& s = p.shape;
  const int64_t elements = s.batch * s.channels * s.in_h * s.in_w;
  A* sums = nullptr;
  if (p.grad_input != nullptr && !p.deterministic) {
    sums = static_cast<A*>(std::is_same_v<T, A> ? p.grad_input : p.workspace);
    const int error =
        launch_zero(sums, elements * static_cast<int64_t>(sizeof(A)), stream, options);
    if (error != 0) return error;
  }
  int error = 0;
  if (s.channels_last) {
    if (sums != nullptr || p.grad_offset != nullptr) {
      error = launch_window<T, Index>(p, sums, stream, options);
    }
  } else {
    if (p.grad_offset != nullptr) {
      const OffsetGradPlan plan = plan_offset_grad(s);
      auto* kernel = offset_grad_planes_kernel<T, Index>;
      SCRN_LAUNCH(kernel, grid_of(plan.blocks, options), kPlaneThreads, 0, stream, p, plan);
      error = cudaGetLastError();
    }
    if (error == 0 && sums != nullptr) {
      const ScatterPlan plan = plan_scatter(s, kScatterWarps<A>, options);
      auto* kernel = scatter_planes_kernel<T, Index>;
      SCRN_LAUNCH(kernel, grid_of(plan.blocks, options), kScatterWarps<A> * 32, 0, stream, p, sums,
                  plan);
      error = cudaGetLastError();
    }
  }
  if (error != 0 || p.grad_input == nullptr) return error;
  if (p.deterministic) return launch_gather<T, Index>(p, stream, options);
  if constexpr (!std::is_same_v<T, A>) {
    return launch_narrow(sums, static_cast<T*>(p.grad_input), elements, stream, options);
  }
  return 0;
}

template <typename T>
int launch_sample_backward(const SampleBackwardParams& params, cudaStream_t stream,
                           const LaunchOptions& options = {}) {
  const SampleShape& s = params.shape;
  const int64_t pixels = s.batch * s.out_h * s.out_w;
  if (params.grad_input == nullptr && params.grad_offset == nullptr) return 0;
  if (empty(s) || pixels == 0) {
    // Nothing is sampled, or nothing comes back: what gradients there are, are zero.
    const int64_t offset_bytes = 2 * pixels * size_of(params.offset_dtype);
    const int64_t input_bytes = s.batch * s.channels * s.in_h * s.in_w * size_of(s.dtype);
    int error = 0;
    if (params.grad_offset != nullptr) {
      error = launch_zero(params.grad_offset, offset_bytes, stream, options);
    }
    if (error == 0 && params.grad_input != nullptr) {
      error = launch_zero(params.grad_input, input_bytes, stream, options);
    }
    return error;
  }
  return options.index64 || !fits_index32(s)
             ? launch_sample_backward_as<T, int64_t>(params, stream, options)
             : launch_sample_backward_as<T, int32_t>(params, stream, options);
}

}  // namespace scrn::srm::cuda
