#include "multi_scale.cuh"

namespace scrn::depthwise::cuda {

template int launch_multi_scale<__half>(const ForwardParams&, cudaStream_t, const LaunchOptions&);
template int launch_multi_scale_backward<__half>(const BackwardParams&, cudaStream_t,
                                                 const LaunchOptions&);

}  // namespace scrn::depthwise::cuda
