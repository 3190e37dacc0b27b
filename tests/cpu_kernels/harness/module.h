#pragma once

#include "../../cuda_on_cpu/harness/runtime/entries.h"
#include "common/cpu/parallel.h"

namespace cpu_kernels {

// Runs tasks in the order that Python asked for.
scrn::cpu::Threads threads();

}  // namespace cpu_kernels
