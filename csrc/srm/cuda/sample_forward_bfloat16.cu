#include "sample_forward.cuh"

namespace scrn::cuda {

template int launch_sample_forward<__nv_bfloat16>(const SampleForwardParams&, cudaStream_t,
                                                  const LaunchOptions&);

}  // namespace scrn::cuda
