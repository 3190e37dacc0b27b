#define SCRN_CPU_ISA avx2
#include "kernels.h"

const scrn::srm::cpu::Kernels& scrn::srm::cpu::kernels_avx2() {
  return scrn::srm::cpu::avx2::kKernels;
}
