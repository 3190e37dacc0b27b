#include "multi_scale.cuh"

namespace scrn::depthwise::cuda {

template int launch_multi_scale<float>(const ForwardParams&, cudaStream_t, const LaunchOptions&);

}  // namespace scrn::depthwise::cuda
