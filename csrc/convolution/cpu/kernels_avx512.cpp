#define SCRN_CPU_ISA avx512
#include "winograd.h"

const scrn::convolution::cpu::Kernels& scrn::convolution::cpu::kernels_avx512() {
  return scrn::convolution::cpu::avx512::kKernels;
}
