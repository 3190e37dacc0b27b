#define SCRN_CPU_ISA portable
#include "kernels.h"

const scrn::cpu::Kernels& scrn::cpu::kernels_portable() { return scrn::cpu::portable::kKernels; }
