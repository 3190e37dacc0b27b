#define SCRN_CPU_ISA avx2
#include "kernels.h"

const scrn::cpu::Kernels& scrn::cpu::kernels_avx2() { return scrn::cpu::avx2::kKernels; }
