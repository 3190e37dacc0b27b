#define SCRN_CPU_ISA avx512
#include "kernels.h"

const scrn::depthwise::cpu::Kernels& scrn::depthwise::cpu::kernels_avx512() {
  return scrn::depthwise::cpu::avx512::kKernels;
}
