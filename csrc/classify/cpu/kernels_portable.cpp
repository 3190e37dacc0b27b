#define SCRN_CPU_ISA portable
#include "kernels.h"

const scrn::classify::cpu::Kernels& scrn::classify::cpu::kernels_portable() {
  return scrn::classify::cpu::portable::kKernels;
}
