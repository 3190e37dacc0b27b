#include "launch.cuh"

namespace scrn::classify::cuda {

template int launch_cross_entropy<__half>(const CrossEntropyParams&, void*, cudaStream_t,
                                          const LossOptions&);
template int launch_cross_entropy_backward<__half>(const CrossEntropyBackwardParams&, void*,
                                                   cudaStream_t, const LossOptions&);
template int launch_scale_gradient<__half>(const ScaleGradientParams&, cudaStream_t,
                                           const LaunchOptions&);
template int launch_argmax<__half>(const ArgmaxParams&, cudaStream_t, const LaunchOptions&);

}  // namespace scrn::classify::cuda
