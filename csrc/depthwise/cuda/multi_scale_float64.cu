#include "multi_scale.cuh"

namespace scrn::depthwise::cuda {

template int launch_multi_scale<double>(const ForwardParams&, cudaStream_t, const LaunchOptions&);
template int launch_multi_scale_backward<double>(const BackwardParams&, cudaStream_t,
                                                 const LaunchOptions&);

}  // namespace scrn::depthwise::cuda
