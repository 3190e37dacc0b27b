#pragma once

// The CUDA kernels. Pointers are device pointers, `stream` is a cudaStream_t, and the result is
// a cudaError_t: 0 if every launch succeeded. They only launch kernels on that stream: they
// allocate nothing, do not synchronise, and leave the choice of the device to the caller.

#include "params.h"

namespace scrn::classify::cuda {

// `workspace` is that large, of the loss and of its backward, and aligned to 16 bytes; its contents
// do not matter. `gradient`: of a loss that gives one, and of a backward. At most 1.1 times the
// bytes of the logits, or, if that is more, 4 MiB or what the pixels around a band of rows need,
// beside one class's nodes and small tables. A label that is no class makes the loss and the
// gradient near it NaN.
size_t cross_entropy_workspace_bytes(const ResizeShape& shape, bool gradient);
int cross_entropy(const CrossEntropyParams& params, void* workspace, void* stream);
int cross_entropy_backward(const CrossEntropyBackwardParams& params, void* workspace, void* stream);
int scale_gradient(const ScaleGradientParams& params, void* stream);
int argmax(const ArgmaxParams& params, void* stream);

}  // namespace scrn::classify::cuda
