#include "classify/cuda/kernels_bfloat16.cu"
#include "entries.h"

SCRN_REGISTER_CLASSIFY(__nv_bfloat16, "bfloat16")
