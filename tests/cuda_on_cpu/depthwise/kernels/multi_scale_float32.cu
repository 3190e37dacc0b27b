#include "depthwise/cuda/multi_scale_float32.cu"
#include "multi_scale.h"

SCRN_REGISTER_MULTI_SCALE(float, "float32")
