#pragma once

// The CUDA kernels. Pointers are device pointers, `stream` is a cudaStream_t, and the result is
// a cudaError_t: 0 if every launch succeeded. They only launch kernels on that stream: they
// allocate nothing, do not synchronise, and leave the choice of the device to the caller.

#include <cstddef>

#include "params.h"

namespace scrn::depthwise::cuda {

int multi_scale(const ForwardParams& params, void* stream);
// Of params.workspace, which is aligned to 16 bytes; its contents do not matter.
size_t multi_scale_workspace_bytes(const BackwardParams& params);
int multi_scale_backward(const BackwardParams& params, void* stream);

int large_kernel(const ForwardParams& params, void* stream);
size_t large_kernel_workspace_bytes(const BackwardParams& params);
int large_kernel_backward(const BackwardParams& params, void* stream);

// Where the output is the input, `workspace` has so many bytes; otherwise it is not used.
size_t gelu_border_bytes(const ForwardParams& params);
int gelu(const ForwardParams& params, void* workspace, void* stream);
size_t gelu_workspace_bytes(const BackwardParams& params);
int gelu_backward(const BackwardParams& params, void* stream);

}  // namespace scrn::depthwise::cuda
