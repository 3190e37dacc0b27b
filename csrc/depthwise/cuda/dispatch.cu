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
extern template int launch_multi_scale<__half>(const ForwardParams&, cudaStream_t,
                                               const LaunchOptions&);
extern template int launch_multi_scale_backward<__half>(const BackwardParams&, cudaStream_t,
                                                        const LaunchOptions&);
extern template int launch_multi_scale<__nv_bfloat16>(const ForwardParams&, cudaStream_t,
                                                      const LaunchOptions&);
extern template int launch_multi_scale_backward<__nv_bfloat16>(const BackwardParams&, cudaStream_t,
                                                               const LaunchOptions&);

int multi_scale(const ForwardParams& params, void* stream) {
  return with_features(params.shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return launch_multi_scale<T>(params, static_cast<cudaStream_t>(stream));
  });
}

size_t multi_scale_workspace_bytes(const BackwardParams& params) {
  return with_features(params.shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return multi_scale_workspace<T>(params);
  });
}

int multi_scale_backward(const BackwardParams& params, void* stream) {
  return with_features(params.shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return launch_multi_scale_backward<T>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace scrn::depthwise::cuda
