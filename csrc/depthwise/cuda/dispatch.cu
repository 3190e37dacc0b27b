// From the types that the parameters name to the templates, which other files instantiate.

#include "../cuda.h"
#include "multi_scale.cuh"

namespace scrn::depthwise::cuda {

extern template int launch_multi_scale<float>(const ForwardParams&, cudaStream_t,
                                              const LaunchOptions&);
extern template int launch_multi_scale_backward<float>(const BackwardParams&, cudaStream_t,
                                                       const LaunchOptions&);
extern template int launch_multi_scale<double>(const ForwardParams&, cudaStream_t,
                                               const LaunchOptions&);
extern template int launch_multi_scale_backward<double>(const BackwardParams&, cudaStream_t,
                                                        const LaunchOptions&);

int multi_scale(const ForwardParams& params, void* stream) {
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return launch_multi_scale<A>(params, static_cast<cudaStream_t>(stream));
  });
}

size_t multi_scale_workspace_bytes(const BackwardParams& params) {
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return multi_scale_workspace<A>(params);
  });
}

int multi_scale_backward(const BackwardParams& params, void* stream) {
  return with_sums(params.shape.dtype, [&](auto* type) {
    using A = std::remove_pointer_t<decltype(type)>;
    return launch_multi_scale_backward<A>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace scrn::depthwise::cuda
