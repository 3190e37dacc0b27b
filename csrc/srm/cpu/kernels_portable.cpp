#define SCRN_CPU_ISA portable
#include "kernels.h"

const scrn::srm::cpu::Kernels& scrn::srm::cpu::kernels_portable() {
  return scrn::srm::cpu::portable::kKernels;
}
