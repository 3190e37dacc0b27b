#include "sample_backward.cuh"

namespace scrn::srm::cuda {

template int launch_sample_backward<__nv_bfloat16>(const SampleBackwardParams&, cudaStream_t,
                                                   const LaunchOptions&);

}  // namespace scrn::srm::cuda
