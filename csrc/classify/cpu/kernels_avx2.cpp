#define SCRN_CPU_ISA avx2
#include "kernels.h"

const scrn::classify::cpu::Kernels& scrn::classify::cpu::kernels_avx2() {
  return scrn::classify::cpu::avx2::kKernels;
}
