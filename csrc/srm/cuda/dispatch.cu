// From the types that the parameters name to the templates, which other files instantiate.

#include "../cuda.h"
#include "aggregate.cuh"
#include "sample_backward.cuh"
#include "sample_forward.cuh"

namespace scrn::srm::cuda {

extern template int launch_aggregate_forward<float>(const AggregateForwardParams&, cudaStream_t,
                                                    const LaunchOptions&);
extern template int launch_aggregate_forward<double>(const AggregateForwardParams&, cudaStream_t,
                                                     const LaunchOptions&);
extern template int launch_aggregate_backward<float>(const AggregateBackwardParams&, cudaStream_t,
                                                     const LaunchOptions&);
extern template int launch_aggregate_backward<double>(const AggregateBackwardParams&, cudaStream_t,
                                                      const LaunchOptions&);

extern template int launch_sample_forward<float>(const SampleForwardParams&, cudaStream_t,
                                                 const LaunchOptions&);
extern template int launch_sample_forward<double>(const SampleForwardParams&, cudaStream_t,
                                                  const LaunchOptions&);
extern template int launch_sample_forward<__half>(const SampleForwardParams&, cudaStream_t,
                                                  const LaunchOptions&);
extern template int launch_sample_forward<__nv_bfloat16>(const SampleForwardParams&, cudaStream_t,
                                                         const LaunchOptions&);

extern template int launch_sample_backward<float>(const SampleBackwardParams&, cudaStream_t,
                                                  const LaunchOptions&);
extern template int launch_sample_backward<double>(const SampleBackwardParams&, cudaStream_t,
                                                   const LaunchOptions&);
extern template int launch_sample_backward<__half>(const SampleBackwardParams&, cudaStream_t,
                                                   const LaunchOptions&);
extern template int launch_sample_backward<__nv_bfloat16>(const SampleBackwardParams&, cudaStream_t,
                                                          const LaunchOptions&);

int aggregate_forward(const AggregateForwardParams& params, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  return params.aggregated_dtype == DType::kDouble ? launch_aggregate_forward<double>(params, on)
                                                   : launch_aggregate_forward<float>(params, on);
}

int aggregate_backward(const AggregateBackwardParams& params, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  return params.aggregated_dtype == DType::kDouble ? launch_aggregate_backward<double>(params, on)
                                                   : launch_aggregate_backward<float>(params, on);
}

int sample_forward(const SampleForwardParams& params, void* stream) {
  return with_features(params.shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return launch_sample_forward<T>(params, static_cast<cudaStream_t>(stream));
  });
}

size_t sample_backward_workspace_bytes(const SampleBackwardParams& params) {
  return with_features(params.shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return sample_backward_workspace<T>(params);
  });
}

int sample_backward(const SampleBackwardParams& params, void* stream) {
  return with_features(params.shape.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return launch_sample_backward<T>(params, static_cast<cudaStream_t>(stream));
  });
}

}  // namespace scrn::srm::cuda
