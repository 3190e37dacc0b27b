#include "classify/cuda/kernels_float64.cu"
#include "entries.h"

SCRN_REGISTER_CLASSIFY(double, "float64")
