#pragma once

// The fused CPU kernels. They start no threads themselves: the caller runs their tasks. The
// results do not depend on how many threads do so, nor on which thread takes which task.

#include <cstddef>
#include <cstdint>

#include "srm_params.h"

namespace scrn::cpu {

// Runs body(state, begin, end) over disjoint ranges that together cover [0, count), and returns
// after all of them; the ranges may run at the same time.
using ParallelFor = void (*)(void* context, int64_t count,
                             void (*body)(void* state, int64_t begin, int64_t end), void* state);
struct Threads {
  ParallelFor parallel_for;
  void* context;
};

// All of these throw std::runtime_error where SCRN_OPS_CPU forces an unknown instruction set or
// one that is not available; instruction_set_available alone does not look at that variable.
void aggregate_forward(const AggregateForwardParams& params, const Threads& threads);
void aggregate_backward(const AggregateBackwardParams& params, const Threads& threads);
void sample_forward(const SampleForwardParams& params, const Threads& threads);
size_t sample_backward_workspace_bytes(const SampleBackwardParams& params);
void sample_backward(const SampleBackwardParams& params, const Threads& threads);

// The one in use: "avx512", "avx2" or "portable".
const char* instruction_set();
// Whether this build has kernels for it and the machine can run them.
bool instruction_set_available(const char* name);

}  // namespace scrn::cpu
