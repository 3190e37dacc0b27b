#include "depthwise/cuda/multi_scale_float64.cu"
#include "multi_scale.h"

SCRN_REGISTER_MULTI_SCALE(double, "float64")
