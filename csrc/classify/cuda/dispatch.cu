// From the types that the parameters name to the templates, which other files instantiate.

#include "../cuda.h"
#include "launch.cuh"

namespace scrn::classify::cuda {

extern template int launch_cross_entropy<float>(const CrossEntropyParams&, void*, cudaStream_t,
                                                const LossOptions&);
extern template int launch_cross_entropy_backward<float>(const CrossEntropyBackwardParams&, void*,
                                                         cudaStream_t, const LossOptions&);
extern template int launch_scale_gradient<float>(const ScaleGradientParams&, cudaStream_t,
                                                 const LaunchOptions&);
extern template int launch_argmax<float>(const ArgmaxParams&, cudaStream_t, const LaunchOptions&);

extern template int launch_cross_entropy<double>(const CrossEntropyParams&, void*, cudaStream_t,
                                                 const LossOptions&);
extern template int launch_cross_entropy_backward<double>(const CrossEntropyBackwardParams&, void*,
                                                          cudaStream_t, const LossOptions&);
extern template int launch_scale_gradient<double>(const ScaleGradientParams&, cudaStream_t,
                                                  const LaunchOptions&);
extern template int launch_argmax<double>(const ArgmaxParams&, cudaStream_t, const LaunchOptions&);

extern template int launch_cross_entropy<__half>(const CrossEntropyParams&, void*, cudaStream_t,
                                                 const LossOptions&);
extern template int launch_cross_entropy_backward<__half>(const CrossEntropyBackwardParams&, void*,
                                                          cudaStream_t, const LossOptions&);
extern template int launch_scale_gradient<__half>(const ScaleGradientParams&, cudaStream_t,
                                                  const LaunchOptions&);
extern template int launch_argmax<__half>(const ArgmaxParams&, cudaStream_t, const LaunchOptions&);

extern template int launch_cross_entropy<__nv_bfloat16>(const CrossEntropyParams&, void*,
                                                        cudaStream_t, const LossOptions&);
extern template int launch_cross_entropy_backward<__nv_bfloat16>(const CrossEntropyBackwardParams&,
                                                                 void*, cudaStream_t,
                                                                 const LossOptions&);
extern template int launch_scale_gradient<__nv_bfloat16>(const ScaleGradientParams&, cudaStream_t,
                                                         const LaunchOptions&);
extern template int launch_argmax<__nv_bfloat16>(const ArgmaxParams&, cudaStream_t,
                                                 const LaunchOptions&);

size_t cross_entropy_workspace_bytes(const ResizeShape& shape, bool gradient) {
  return with_features(shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return loss_workspace<T>(shape, gradient);
  });
}

int cross_entropy(const CrossEntropyParams& params, void* workspace, void* stream) {
  return with_features(params.shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return launch_cross_entropy<T>(params, workspace, static_cast<cudaStream_t>(stream));
  });
}

int cross_entropy_backward(const CrossEntropyBackwardParams& params, void* workspace,
                           void* stream) {
  return with_features(params.shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return launch_cross_entropy_backward<T>(params, workspace, static_cast<cudaStream_t>(stream));
  });
}

int scale_gradient(const ScaleGradientParams& params, void* stream) {
  return with_features(params.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return launch_scale_gradient<T>(params, static_cast<cudaStream_t>(stream));
  });
}

int argmax(const ArgmaxParams& params, void* stream) {
  return with_features(params.shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return launch_argmax<T>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace scrn::classify::cuda
