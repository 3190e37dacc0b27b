#define SCRN_CPU_ISA avx512
#include "kernels.h"

const scrn::cpu::Kernels& scrn::cpu::kernels_avx512() { return scrn::cpu::avx512::kKernels; }
