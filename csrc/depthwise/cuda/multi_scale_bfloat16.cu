#include "multi_scale.cuh"

namespace scrn::depthwise::cuda {

template int launch_multi_scale<__nv_bfloat16>(const ForwardParams&, cudaStream_t,
                                               const LaunchOptions&);
template int launch_multi_scale_backward<__nv_bfloat16>(const BackwardParams&, cudaStream_t,
                                                        const LaunchOptions&);

}  // namespace scrn::depthwise::cuda
