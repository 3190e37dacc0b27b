// Beside the forward: it takes the compiler longest.
#include "multi_scale.cuh"

namespace scrn::depthwise::cuda {

template int launch_multi_scale_backward<float>(const BackwardParams&, cudaStream_t,
                                                const LaunchOptions&);

}  // namespace scrn::depthwise::cuda
