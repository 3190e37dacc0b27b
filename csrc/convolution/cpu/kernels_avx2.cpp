#define SCRN_CPU_ISA avx2
#include "winograd.h"

const scrn::convolution::cpu::Kernels& scrn::convolution::cpu::kernels_avx2() {
  return scrn::convolution::cpu::avx2::kKernels;
}
