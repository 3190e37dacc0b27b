#include "sample_backward.cuh"

namespace scrn::srm::cuda {

template int launch_sample_backward<float>(const SampleBackwardParams&, cudaStream_t,
                                           const LaunchOptions&);

}  // namespace scrn::srm::cuda
