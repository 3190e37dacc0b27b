#pragma once

// The CUDA kernels. Pointers are device pointers, `stream` is a cudaStream_t, and the result is
// a cudaError_t: 0 if every launch succeeded. They only launch kernels on that stream: they
// allocate nothing, do not synchronise, and leave the choice of the device to the caller.

#include <cstddef>

#include "params.h"

namespace scrn::srm::cuda {

int aggregate_forward(const AggregateForwardParams& params, void* stream);
int aggregate_backward(const AggregateBackwardParams& params, void* stream);
int sample_forward(const SampleForwardParams& params, void* stream);

// `params.workspace` must be that large and aligned to 16 bytes; its contents do not matter.
// The pointers of `params` are looked at for null only.
size_t sample_backward_workspace_bytes(const SampleBackwardParams& params);
int sample_backward(const SampleBackwardParams& params, void* stream);

}  // namespace scrn::srm::cuda
