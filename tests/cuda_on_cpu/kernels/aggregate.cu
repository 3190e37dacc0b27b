#include "entries.h"
#include "srm/cuda/aggregate.cuh"

namespace {

using namespace scrn_on_cpu;

template <typename Params>
Params common(const Arguments& a) {
  Params p;
  p.batch = a.integer("batch");
  p.height = small(a, "height");
  p.width = small(a, "width");
  p.offset_dtype = dtype(a, "offset_dtype");
  p.mask_dtype = dtype(a, "mask_dtype");
  p.aggregated_dtype = dtype(a, "dtype");
  p.mask_is_logits = a.integer("logits") != 0;
  p.offset = a.pointer<const void>("offset");
  p.mask = a.pointer<const void>("mask");
  return p;
}

const Register kForward("aggregate_forward", [](const Arguments& a) -> int64_t {
  auto p = common<scrn::AggregateForwardParams>(a);
  p.aggregated = a.pointer<void>("aggregated");
  const auto options = launch_options(a);
  return p.aggregated_dtype == scrn::DType::kDouble
             ? scrn::cuda::launch_aggregate_forward<double>(p, nullptr, options)
             : scrn::cuda::launch_aggregate_forward<float>(p, nullptr, options);
});

const Register kBackward("aggregate_backward", [](const Arguments& a) -> int64_t {
  auto p = common<scrn::AggregateBackwardParams>(a);
  p.grad_aggregated = a.pointer<const void>("grad_aggregated");
  p.grad_offset = a.pointer<void>("grad_offset");
  p.grad_mask = a.pointer<void>("grad_mask");
  const auto options = launch_options(a);
  return p.aggregated_dtype == scrn::DType::kDouble
             ? scrn::cuda::launch_aggregate_backward<double>(p, nullptr, options)
             : scrn::cuda::launch_aggregate_backward<float>(p, nullptr, options);
});

}  // namespace
