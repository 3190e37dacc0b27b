#pragma once

// The fused CPU kernels. They start no threads themselves: the caller runs their tasks. The
// results do not depend on how many threads do so, nor on which thread takes which task.

#include <cstddef>

#include "../common/cpu/parallel.h"
#include "params.h"

namespace scrn::depthwise::cpu {

using scrn::cpu::Threads;

void forward(const ForwardParams& params, const Threads& threads);
size_t backward_workspace_bytes(const BackwardParams& params);
void backward(const BackwardParams& params, const Threads& threads);

}  // namespace scrn::depthwise::cpu
