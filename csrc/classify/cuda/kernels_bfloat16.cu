#include "launch.cuh"

namespace scrn::classify::cuda {

template int launch_cross_entropy<__nv_bfloat16>(const CrossEntropyParams&, void*, cudaStream_t,
                                                 const LossOptions&);
template int launch_cross_entropy_backward<__nv_bfloat16>(const CrossEntropyBackwardParams&, void*,
                                                          cudaStream_t, const LossOptions&);
template int launch_scale_gradient<__nv_bfloat16>(const ScaleGradientParams&, cudaStream_t,
                                                  const LaunchOptions&);
template int launch_argmax<__nv_bfloat16>(const ArgmaxParams&, cudaStream_t, const LaunchOptions&);

}  // namespace scrn::classify::cuda
