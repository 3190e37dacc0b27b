#pragma once

// All kernels of one instruction set. A translation unit defines SCRN_CPU_ISA and includes this.

#include "argmax.h"
#include "cross_entropy.h"
#include "upsample.h"

namespace scrn::classify::cpu::SCRN_CPU_ISA {
namespace {

void cross_entropy(const LossPlan& plan, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    if (plan.shape.dtype == DType::kDouble) {
      cross_entropy_task<double>(plan, task);
    } else {
      cross_entropy_task<float>(plan, task);
    }
  }
}

template <typename L>
void argmax_as(const ArgmaxPlan& plan, int64_t task) {
  if (plan.params.shape.dtype == DType::kDouble) {
    argmax_task<L, double>(plan, task);
  } else {
    argmax_task<L, float>(plan, task);
  }
}

void argmax(const ArgmaxPlan& plan, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    if (plan.params.label_type == LabelType::kUint8) {
      argmax_as<uint8_t>(plan, task);
    } else {
      argmax_as<int64_t>(plan, task);
    }
  }
}

constexpr int64_t kScaled = 1 << 15;  // elements of a task

template <typename T, typename A>
void scale_as(const ScalePlan& plan, int64_t task) {
  const int64_t first = task * kScaled, rest = plan.params.count - first;
  const int64_t count = rest < kScaled ? rest : kScaled;
  const T* const source = static_cast<const T*>(plan.params.gradient) + first;
  T* const target = static_cast<T*>(plan.params.scaled) + first;
  const A factor = static_cast<A>(plan.factor);
  int64_t i = 0;
  for (; i + kLanes<A> <= count; i += kLanes<A>) store(target + i, load(source + i) * factor);
  for (; i < count; ++i) narrow(widen(source[i]) * factor, target[i]);
}

// Calls body(T, A) with a number of the elements' type and one of its accumulate type.
template <typename Body>
SCRN_INLINE void with_types(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kFloat:
      return body(float{}, float{});
    case DType::kDouble:
      return body(double{}, double{});
    case DType::kHalf:
      return body(Half{}, float{});
    case DType::kBFloat16:
      return body(BFloat16{}, float{});
  }
}

void scale(const ScalePlan& plan, int64_t begin, int64_t end) {
  with_types(plan.params.dtype, [&](auto element, auto sum) {
    for (int64_t task = begin; task < end; ++task) {
      scale_as<decltype(element), decltype(sum)>(plan, task);
    }
  });
}

void upsample(const UpsamplePlan& plan, int64_t begin, int64_t end) {
  with_types(plan.params.shape.dtype, [&](auto element, auto sum) {
    for (int64_t task = begin; task < end; ++task) {
      upsample_task<decltype(element), decltype(sum)>(plan, task);
    }
  });
}

constexpr Kernels kKernels = {cross_entropy, argmax, scale, upsample};

}  // namespace
}  // namespace scrn::classify::cpu::SCRN_CPU_ISA
