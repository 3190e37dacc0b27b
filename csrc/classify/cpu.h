#pragma once

// The fused CPU kernels. They start no threads themselves: the caller runs their tasks. The
// results do not depend on how many threads do so, nor on which thread takes which task.

#include "../common/cpu/parallel.h"
#include "params.h"

namespace scrn::classify::cpu {

using scrn::cpu::Threads;

// They throw std::runtime_error where a label is no class, and where SCRN_OPS_CPU forces an
// instruction set that is not available.
void cross_entropy(const CrossEntropyParams& params, const Threads& threads);
void cross_entropy_backward(const CrossEntropyBackwardParams& params, const Threads& threads);
void scale_gradient(const ScaleGradientParams& params, const Threads& threads);
void argmax(const ArgmaxParams& params, const Threads& threads);
void upsample(const UpsampleParams& params, const Threads& threads);

}  // namespace scrn::classify::cpu
