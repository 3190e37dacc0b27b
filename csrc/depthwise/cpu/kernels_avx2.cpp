#define SCRN_CPU_ISA avx2
#include "kernels.h"

const scrn::depthwise::cpu::Kernels& scrn::depthwise::cpu::kernels_avx2() {
  return scrn::depthwise::cpu::avx2::kKernels;
}
