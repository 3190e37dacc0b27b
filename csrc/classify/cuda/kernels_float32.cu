#include "launch.cuh"

namespace scrn::classify::cuda {

template int launch_cross_entropy<float>(const CrossEntropyParams&, void*, cudaStream_t,
                                         const LossOptions&);
template int launch_cross_entropy_backward<float>(const CrossEntropyBackwardParams&, void*,
                                                  cudaStream_t, const LossOptions&);
template int launch_scale_gradient<float>(const ScaleGradientParams&, cudaStream_t,
                                          const LaunchOptions&);
template int launch_argmax<float>(const ArgmaxParams&, cudaStream_t, const LaunchOptions&);

}  // namespace scrn::classify::cuda
