#include "launch.cuh"

namespace scrn::classify::cuda {

template int launch_cross_entropy<double>(const CrossEntropyParams&, void*, cudaStream_t,
                                          const LossOptions&);
template int launch_cross_entropy_backward<double>(const CrossEntropyBackwardParams&, void*,
                                                   cudaStream_t, const LossOptions&);
template int launch_scale_gradient<double>(const ScaleGradientParams&, cudaStream_t,
                                           const LaunchOptions&);
template int launch_argmax<double>(const ArgmaxParams&, cudaStream_t, const LaunchOptions&);

}  // namespace scrn::classify::cuda
