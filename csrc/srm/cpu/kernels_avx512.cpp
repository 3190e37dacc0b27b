#define SCRN_CPU_ISA avx512
#include "kernels.h"

const scrn::srm::cpu::Kernels& scrn::srm::cpu::kernels_avx512() {
  return scrn::srm::cpu::avx512::kKernels;
}
