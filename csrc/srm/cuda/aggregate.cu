#include "aggregate.cuh"

namespace scrn::srm::cuda {

template int launch_aggregate_forward<float>(const AggregateForwardParams&, cudaStream_t,
                                             const LaunchOptions&);
template int launch_aggregate_forward<double>(const AggregateForwardParams&, cudaStream_t,
                                              const LaunchOptions&);
template int launch_aggregate_backward<float>(const AggregateBackwardParams&, cudaStream_t,
                                              const LaunchOptions&);
template int launch_aggregate_backward<double>(const AggregateBackwardParams&, cudaStream_t,
                                               const LaunchOptions&);

}  // namespace scrn::srm::cuda
