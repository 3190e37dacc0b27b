#include "depthwise/cuda/multi_scale_float16.cu"
#include "multi_scale.h"

SCRN_REGISTER_MULTI_SCALE(__half, "float16")
