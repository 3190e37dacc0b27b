#define SCRN_CPU_ISA portable
#include "winograd.h"

const scrn::convolution::cpu::Kernels& scrn::convolution::cpu::kernels_portable() {
  return scrn::convolution::cpu::portable::kKernels;
}
