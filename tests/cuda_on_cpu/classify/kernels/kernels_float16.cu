#include "classify/cuda/kernels_float16.cu"
#include "entries.h"

SCRN_REGISTER_CLASSIFY(__half, "float16")
