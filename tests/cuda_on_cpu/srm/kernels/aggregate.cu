#include "entries.h"
#include "srm/cuda/aggregate.cuh"

namespace {

using namespace scrn_on_cpu;

const Register kForward("aggregate_forward", [](const Arguments& a) -> int64_t {
  const auto p = aggregate_forward_params(a);
  const auto options = launch_options(a);
  return p.aggregated_dtype == scrn::DType::kDouble
             ? scrn::srm::cuda::launch_aggregate_forward<double>(p, nullptr, options)
             : scrn::srm::cuda::launch_aggregate_forward<float>(p, nullptr, options);
});

const Register kBackward("aggregate_backward", [](const Arguments& a) -> int64_t {
  const auto p = aggregate_backward_params(a);
  const auto options = launch_options(a);
  return p.aggregated_dtype == scrn::DType::kDouble
             ? scrn::srm::cuda::launch_aggregate_backward<double>(p, nullptr, options)
             : scrn::srm::cuda::launch_aggregate_backward<float>(p, nullptr, options);
});

}  // namespace
