#include "sample_backward.cuh"

namespace scrn::cuda {

template int launch_sample_backward<float>(const SampleBackwardParams&, cudaStream_t,
                                           const LaunchOptions&);

}  // namespace scrn::cuda
