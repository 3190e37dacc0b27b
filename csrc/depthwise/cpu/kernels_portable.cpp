#define SCRN_CPU_ISA portable
#include "kernels.h"

const scrn::depthwise::cpu::Kernels& scrn::depthwise::cpu::kernels_portable() {
  return scrn::depthwise::cpu::portable::kKernels;
}
