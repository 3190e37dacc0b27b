#include "sample_forward.cuh"

namespace scrn::srm::cuda {

template int launch_sample_forward<double>(const SampleForwardParams&, cudaStream_t,
                                           const LaunchOptions&);

}  // namespace scrn::srm::cuda
