#define SCRN_CPU_ISA avx512
#include "kernels.h"

const scrn::classify::cpu::Kernels& scrn::classify::cpu::kernels_avx512() {
  return scrn::classify::cpu::avx512::kKernels;
}
