#include "sample_backward.cuh"

namespace scrn::cuda {

template int launch_sample_backward<__half>(const SampleBackwardParams&, cudaStream_t,
                                            const LaunchOptions&);

}  // namespace scrn::cuda
