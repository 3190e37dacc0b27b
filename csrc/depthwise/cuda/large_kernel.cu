#include "../cuda.h"
#include "large_kernel_launch.cuh"

namespace scrn::depthwise::cuda {

int large_kernel(const ForwardParams& params, void* stream) {
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return launch_large_kernel<A>(params, static_cast<cudaStream_t>(stream));
  });
}

size_t large_kernel_workspace_bytes(const BackwardParams& params) {
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return static_cast<size_t>(plan_large_kernel_backward<A>(params).bytes);
  });
}

int large_kernel_backward(const BackwardParams& params, void* stream) {
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return launch_large_kernel_backward<A>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace scrn::depthwise::cuda
