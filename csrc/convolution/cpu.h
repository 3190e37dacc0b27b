#pragma once

// The CPU kernels. They start no threads themselves: the caller runs their tasks. The results do
// not depend on how many threads do so, nor on which thread takes which task.

#include "../common/cpu/parallel.h"
#include "params.h"

namespace scrn::convolution::cpu {

void forward(const ForwardParams& params, const scrn::cpu::Threads& threads);

}  // namespace scrn::convolution::cpu
