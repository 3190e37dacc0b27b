#pragma once

// The fused CPU kernels. They start no threads themselves: the caller runs their tasks. The
// results do not depend on how many threads do so, nor on which thread takes which task.

#include "../srm/srm_cpu.h"
#include "params.h"

namespace scrn::depthwise::cpu {

void forward(const ForwardParams& params, const ::scrn::cpu::Threads& threads);
size_t backward_workspace_bytes(const BackwardParams& params);
void backward(const BackwardParams& params, const ::scrn::cpu::Threads& threads);

}  // namespace scrn::depthwise::cpu
