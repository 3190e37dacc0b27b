#include "classify/cuda/kernels_float32.cu"
#include "entries.h"

SCRN_REGISTER_CLASSIFY(float, "float32")
