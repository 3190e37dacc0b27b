#include "../cuda.h"
#include "gelu_launch.cuh"

namespace scrn::depthwise::cuda {

size_t gelu_border_bytes(const ForwardParams& params) {
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return static_cast<size_t>(gelu_border_bytes<A>(params.shape));
  });
}

int gelu(const ForwardParams& params, void* workspace, void* stream) {
  return launch_gelu(params, workspace, static_cast<cudaStream_t>(stream));
}

size_t gelu_workspace_bytes(const BackwardParams& params) {
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return static_cast<size_t>(gelu_workspace_bytes<A>(params));
  });
}

int gelu_backward(const BackwardParams& params, void* stream) {
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return launch_gelu_backward<A>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace scrn::depthwise::cuda
