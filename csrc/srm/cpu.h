#pragma once

// The fused CPU kernels. They start no threads themselves: the caller runs their tasks. The
// results do not depend on how many threads do so, nor on which thread takes which task.

#include <cstddef>
#include <cstdint>

#include "../common/cpu/parallel.h"
#include "params.h"

namespace scrn::srm::cpu {

using scrn::cpu::Threads;

// All of these throw std::runtime_error where SCRN_OPS_CPU forces an unknown instruction set or
// one that is not available.
void aggregate_forward(const AggregateForwardParams& params, const Threads& threads);
void aggregate_backward(const AggregateBackwardParams& params, const Threads& threads);
void sample_forward(const SampleForwardParams& params, const Threads& threads);
size_t sample_backward_workspace_bytes(const SampleBackwardParams& params);
void sample_backward(const SampleBackwardParams& params, const Threads& threads);

}  // namespace scrn::srm::cpu
