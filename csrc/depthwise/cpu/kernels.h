#pragma once

// All kernels of one instruction set. A translation unit defines SCRN_CPU_ISA and includes this.

#include "backward.h"
#include "forward.h"

namespace scrn::depthwise::cpu::SCRN_CPU_ISA {
namespace {

void forward(const ForwardPlan& plan, int64_t begin, int64_t end) {
  switch (plan.params.shape.dtype) {
    case DType::kFloat:
      return forward_tasks<float, float>(plan, begin, end);
    case DType::kDouble:
      return forward_tasks<double, double>(plan, begin, end);
    case DType::kHalf:
      return forward_tasks<Half, float>(plan, begin, end);
    case DType::kBFloat16:
      return forward_tasks<BFloat16, float>(plan, begin, end);
  }
}

void backward(const BackwardPlan& plan, int64_t begin, int64_t end) {
  switch (plan.params.shape.dtype) {
    case DType::kFloat:
      return backward_tasks<float, float>(plan, begin, end);
    case DType::kDouble:
      return backward_tasks<double, double>(plan, begin, end);
    case DType::kHalf:
      return backward_tasks<Half, float>(plan, begin, end);
    case DType::kBFloat16:
      return backward_tasks<BFloat16, float>(plan, begin, end);
  }
}

void reduce(const BackwardPlan& plan, int64_t begin, int64_t end) {
  if (plan.params.shape.dtype == DType::kDouble) {
    reduce_tasks<double>(plan, begin, end);
  } else {
    reduce_tasks<float>(plan, begin, end);
  }
}

constexpr Kernels kKernels = {forward, backward, reduce, kRegisterBytes};

}  // namespace
}  // namespace scrn::depthwise::cpu::SCRN_CPU_ISA
