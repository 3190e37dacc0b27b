#pragma once

#include "plan.h"

namespace scrn::cpu {

// The kernels of the instruction set in use; throws where SCRN_OPS_CPU forces one that is not
// available.
const Kernels& current_kernels();

}  // namespace scrn::cpu
