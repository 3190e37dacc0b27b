#pragma once

// All kernels of one instruction set. A translation unit defines SCRN_CPU_ISA and includes this.

#include "aggregate.h"
#include "backward.h"
#include "forward_planes.h"

namespace scrn::srm::cpu::SCRN_CPU_ISA {
namespace {

template <typename S, typename A>
void sample_forward_as(const ForwardPlan& plan, int64_t begin, int64_t end) {
  if (plan.params.shape.channels_last) {
    sample_rows_last<S, A>(plan, begin, end);
  } else {
    sample_tiles_planes<S, A>(plan, begin, end);
  }
}

void sample_forward(const ForwardPlan& plan, int64_t begin, int64_t end) {
  switch (plan.params.shape.dtype) {
    case DType::kFloat:
      return sample_forward_as<float, float>(plan, begin, end);
    case DType::kDouble:
      return sample_forward_as<double, double>(plan, begin, end);
    case DType::kHalf:
      return sample_forward_as<Half, float>(plan, begin, end);
    case DType::kBFloat16:
      return sample_forward_as<BFloat16, float>(plan, begin, end);
  }
}

void aggregate_forward(const AggregateForwardParams& params, int64_t begin, int64_t end) {
  if (params.aggregated_dtype == DType::kDouble) {
    aggregate_rows<double>(params, begin, end);
  } else {
    aggregate_rows<float>(params, begin, end);
  }
}

void aggregate_backward(const AggregateBackwardParams& params, int64_t begin, int64_t end) {
  if (params.aggregated_dtype == DType::kDouble) {
    aggregate_bands<double>(params, begin, end);
  } else {
    aggregate_bands<float>(params, begin, end);
  }
}

void backward_locate(const BackwardPlan& plan, int64_t begin, int64_t end) {
  if (plan.params.shape.dtype == DType::kDouble) {
    locate_backward_tasks<double>(plan, begin, end);
  } else {
    locate_backward_tasks<float>(plan, begin, end);
  }
}

void backward_scatter(const BackwardPlan& plan, int64_t begin, int64_t end) {
  switch (plan.params.shape.dtype) {
    case DType::kFloat:
      return scatter_tasks<float, float>(plan, begin, end);
    case DType::kDouble:
      return scatter_tasks<double, double>(plan, begin, end);
    case DType::kHalf:
      return scatter_tasks<Half, float>(plan, begin, end);
    case DType::kBFloat16:
      return scatter_tasks<BFloat16, float>(plan, begin, end);
  }
}

void backward_reduce(const BackwardPlan& plan, int64_t begin, int64_t end) {
  if (plan.params.shape.dtype == DType::kDouble) {
    reduce_tasks<double>(plan, begin, end);
  } else {
    reduce_tasks<float>(plan, begin, end);
  }
}

constexpr Kernels kKernels = {
    aggregate_forward, aggregate_backward, sample_forward,
    backward_locate,   backward_scatter,   backward_reduce,
};

}  // namespace
}  // namespace scrn::srm::cpu::SCRN_CPU_ISA
